// VL2_CHECK: a condition whose failure is a bug in this program, never a fault of its input. Prints
// the place, the condition and the streamed values (shapes, sizes), then aborts. Faults that come
// from outside are absl::Status (see status.h).
#pragma once

#include <cstdlib>
#include <iostream>
#include <sstream>

namespace vl2 {

// Collects the message of a failed check; aborts the process in its destructor.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition) {
    message_ << file << ":" << line << ": check failed: " << condition << " ";
  }
  [[noreturn]] ~CheckFailure() {
    std::cerr << message_.str() << std::endl;
    std::abort();
  }
  std::ostream& stream() { return message_; }

 private:
  std::ostringstream message_;
};

}  // namespace vl2

#define VL2_CHECK(condition) \
  while (!(condition)) ::vl2::CheckFailure(__FILE__, __LINE__, #condition).stream()
