// Addresses of images, and where they redirect to. Input: the address, a NUL, the Location. What is
// taken can be written into a request, and reads the same once more.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "gateway/http/image_url.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

void CheckUrl(const ImageUrl& url) {
  VL2_CHECK(url.port > 0 && !url.host.empty());
  VL2_CHECK(url.target.starts_with('/')) << url.target;
  for (const std::string& line : {url.target, url.HostHeader()}) {
    for (const char c : line) VL2_CHECK(c > ' ' && static_cast<unsigned char>(c) < 0x7f) << line;
  }
  const std::string text = Cat(url.tls ? "https://" : "http://", url.HostHeader(), url.target);
  const auto again = ImageUrl::Parse(text);
  if (!again.ok()) {
    // Escapes make it longer.
    VL2_CHECK(text.size() > ImageUrl::kMaxBytes) << text << ": " << again.status();
    return;
  }
  VL2_CHECK(again->host == url.host && again->port == url.port && again->target == url.target)
      << text << " reads " << again->target;
}

void Run(std::string_view input) {
  const size_t end = std::min(input.find('\0'), input.size());
  const auto url = ImageUrl::Parse(input.substr(0, end));
  if (!url.ok()) return;
  CheckUrl(*url);
  const auto next = url->Redirect(input.substr(std::min(end + 1, input.size())));
  if (!next.ok()) return;
  CheckUrl(*next);
  VL2_CHECK(next->tls || !url->tls) << "from https to http";
}

}  // namespace
}  // namespace vl2::gateway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vl2::gateway::Run({reinterpret_cast<const char*>(data), size});
  return 0;
}
