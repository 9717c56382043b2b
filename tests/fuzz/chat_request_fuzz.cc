// A chat request's JSON, from the bytes of a body to a validated task. Whatever the bytes are, the
// reader of requests takes exactly the JSON that the reader of checkpoint files takes, and the same
// strings are in it; what is refused is refused in few words; what is taken is valid.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "gateway/http/chat_request.h"
#include "runtime/base/check.h"
#include "runtime/base/json.h"
#include "runtime/base/json_document.h"

namespace vl2::gateway {
namespace {

constexpr size_t kMaxMessageBytes = 1000;

void CheckSame(JsonView view, const Json& json) {
  switch (view.kind()) {
    case JsonKind::kNull:
      VL2_CHECK(json.is_null());
      return;
    case JsonKind::kFalse:
    case JsonKind::kTrue:
      VL2_CHECK(json == view.Bool());
      return;
    case JsonKind::kInteger:
    case JsonKind::kUnsigned:
    case JsonKind::kDouble:
      VL2_CHECK(json.is_number() && json.get<double>() == view.Double()) << json.dump();
      return;
    case JsonKind::kString:
      VL2_CHECK(json.get_ref<const std::string&>() == view.String());
      return;
    case JsonKind::kArray: {
      VL2_CHECK(json.is_array() && json.size() == view.size());
      size_t index = 0;
      for (const JsonView each : view.Elements()) CheckSame(each, json[index++]);
      return;
    }
    case JsonKind::kObject:
      break;
  }
  VL2_CHECK(json.is_object() && json.size() <= view.size());
  for (const auto& [key, value] : json.items()) {
    const auto found = view.Find(key);
    VL2_CHECK(found.has_value() == !value.is_null()) << key;
    if (found) CheckSame(*found, value);
  }
}

// Numbers whose length is limited, and what both readers limit, aside.
void CheckReader(const std::string& text) {
  const auto document = JsonDocument::Parse(text, {});
  const auto json = ParseJson(text);
  if (document.ok()) {
    VL2_CHECK(json.ok()) << json.status();
    CheckSame(document->root(), *json);
    return;
  }
  VL2_CHECK(document.status().message().size() < kMaxMessageBytes);
  const bool limited = text.find(std::string(100, '0')) != text.npos || text.size() > 1000;
  const bool has_nul = text.find('\0') != text.npos;  // ends the text for the other reader
  VL2_CHECK(limited || has_nul || !json.ok()) << document.status();
}

void CheckInput(std::string text) {
  CheckReader(text);
  RequestDefaults defaults;
  defaults.model_name = "tiny";
  for (const bool fetch_images : {false, true}) {
    defaults.fetch_images = fetch_images;
    const auto request = ParseChatRequest(text, defaults);
    if (!request.ok()) {
      VL2_CHECK(absl::IsInvalidArgument(request.status())) << request.status();
      VL2_CHECK(request.status().message().size() < kMaxMessageBytes);
      continue;
    }
    VL2_CHECK(!request->task.messages.empty());
    VL2_CHECK(fetch_images || request->remote_images.empty());
    if (request->remote_images.empty()) VL2_CHECK(ValidateTask(request->task).ok());
  }
}

}  // namespace
}  // namespace vl2::gateway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vl2::gateway::CheckInput({reinterpret_cast<const char*>(data), size});
  return 0;
}
