// AlignedBuffer: a block of memory aligned to 64 bytes (one cache line, one AVX-512 register).
//
// Owns: its bytes. Threading: as the caller's data. Errors: running out of memory aborts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "runtime/base/check.h"

namespace vl2 {

class AlignedBuffer {
 public:
  static constexpr size_t kAlignment = 64;

  AlignedBuffer() = default;
  // Not initialised; large blocks stay untouched pages until written.
  explicit AlignedBuffer(size_t num_bytes) : num_bytes_(num_bytes) {
    if (num_bytes == 0) return;
    const size_t rounded = (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
    bytes_.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded)));
    VL2_CHECK(bytes_ != nullptr) << "out of memory: " << rounded << " bytes";
  }

  std::byte* data() { return bytes_.get(); }
  const std::byte* data() const { return bytes_.get(); }
  size_t size() const { return num_bytes_; }
  void Zero() {
    if (num_bytes_ > 0) std::memset(bytes_.get(), 0, num_bytes_);
  }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  size_t num_bytes_ = 0;
  std::unique_ptr<std::byte, Free> bytes_;
};

}  // namespace vl2
