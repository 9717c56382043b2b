// VipsLibrary: the one place that starts libvips and takes its errors.
//
// Only the loader of TIFF from memory stays enabled; the operation cache is off, and a picture is
// decoded by the thread that asks for it.
//
// Threading: thread-safe; the first call of Start initialises.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace vl2 {

class VipsLibrary {
 public:
  // Initialises once for the process; the same answer ever after. INTERNAL when libvips cannot
  // start.
  static absl::Status Start();

  // Takes and clears libvips' error text: one printable line, cut to 200 bytes. The text is one for
  // the process: of two pictures that fail at the same moment, one may carry the other's words.
  static std::string TakeError();
};

}  // namespace vl2
