#include "runtime/rpc/metric_codes.h"

#include "absl/strings/ascii.h"

namespace vl2 {

std::string CodeLabel(absl::StatusCode code) {
  return absl::AsciiStrToLower(absl::StatusCodeToString(code));
}

}  // namespace vl2
