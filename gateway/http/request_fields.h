// RequestFields: typed access to one object of a request, whose errors name the field.
//
// A field that is absent or null leaves its default. Errors: INVALID_ARGUMENT whose ParamOf() is
// the field's path, such as "messages[0].content[1].image_url.detail". Threading: immutable. The
// document outlives this.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "gateway/session/chat_task.h"
#include "runtime/base/json_document.h"
#include "runtime/base/status.h"

namespace vl2::gateway {

// "`param` must be `expected`, it is of type ...".
absl::Status WrongType(std::string_view param, std::string_view expected, JsonView found);

class RequestFields {
 public:
  // `path` is empty for the request itself. REQUIRES: `object` is one.
  RequestFields(JsonView object, std::string path) : object_(object), path_(std::move(path)) {}

  std::optional<JsonView> Find(std::string_view key) const { return object_.Find(key); }
  std::string PathOf(std::string_view key) const {
    return path_.empty() ? std::string(key) : Cat(path_, ".", key);
  }

  absl::Status Read(const NumberRange& range, double* value) const;
  // Whole numbers, however they are written: 1.0 is one.
  template <typename Int>
  absl::Status Read(const IntegerRange& range, Int* value) const {
    auto number = static_cast<int64_t>(*value);
    VL2_RETURN_IF_ERROR(ReadInteger(range, &number));
    *value = static_cast<Int>(number);
    return absl::OkStatus();
  }
  absl::Status Read(std::string_view key, bool* value) const;
  absl::Status Read(std::string_view key, std::string_view* value) const;

 private:
  absl::Status ReadInteger(const IntegerRange& range, int64_t* value) const;

  JsonView object_;
  std::string path_;
};

}  // namespace vl2::gateway
