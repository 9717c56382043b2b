// Status macros and message building. Own interfaces use std::string_view; the packaged Abseil's
// absl::string_view is another type, and the functions here are the one place where they meet.
#pragma once

#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vl2 {

// All arguments, streamed one after the other. For messages, not for hot paths.
template <typename... Args>
std::string Cat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return std::move(out).str();
}

template <typename... Args>
absl::Status InvalidArgument(const Args&... args) {
  return absl::InvalidArgumentError(Cat(args...));
}

// The message of `status` as a std::string.
inline std::string Message(const absl::Status& status) { return std::string(status.message()); }

// `status` with "context: " before its message and its payloads; OK stays OK.
inline absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), Cat(context, ": ", Message(status)));
  status.ForEachPayload([&](auto url, const auto& payload) { annotated.SetPayload(url, payload); });
  return annotated;
}

namespace internal {
inline absl::Status ToStatus(const absl::Status& status) { return status; }
template <typename T>
absl::Status ToStatus(const absl::StatusOr<T>& value) {
  return value.status();
}
}  // namespace internal

}  // namespace vl2

// Returns from the enclosing function when `expression` (absl::Status or StatusOr) is an error.
#define VL2_RETURN_IF_ERROR(expression)                      \
  do {                                                       \
    auto vl2_status = ::vl2::internal::ToStatus(expression); \
    if (!vl2_status.ok()) return vl2_status;                 \
  } while (false)

// VL2_ASSIGN_OR_RETURN(auto x, F()): declares or assigns the value, or returns F's error.
#define VL2_ASSIGN_OR_RETURN(target, expression) \
  VL2_ASSIGN_OR_RETURN_AT(target, expression, __LINE__)
#define VL2_ASSIGN_OR_RETURN_AT(target, expression, line) \
  VL2_ASSIGN_OR_RETURN_NAMED(target, expression, line)
#define VL2_ASSIGN_OR_RETURN_NAMED(target, expression, line)      \
  auto vl2_result_##line = (expression);                          \
  if (!vl2_result_##line.ok()) return vl2_result_##line.status(); \
  target = *std::move(vl2_result_##line)
