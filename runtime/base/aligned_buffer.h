// AlignedBuffer: a block of memory aligned to 64 bytes (one cache line, one AVX-512 register).
// Blocks of kHugeBytes and more ask for huge pages: touching them for the first time then costs a
// page fault every 2 MiB rather than every 4 KiB.
//
// Owns: its bytes. Threading: as the caller's data. Errors: running out of memory aborts.
#pragma once

#include <sys/mman.h>

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
  static constexpr size_t kHugeBytes = size_t{4} << 20;
  static constexpr size_t kHugePageBytes = size_t{2} << 20;

  AlignedBuffer() = default;
  // Not initialised; large blocks stay untouched pages until written.
  explicit AlignedBuffer(size_t num_bytes) : num_bytes_(num_bytes) {
    if (num_bytes == 0) return;
    const size_t rounded = (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
    const bool huge = rounded >= kHugeBytes;
    void* bytes = nullptr;
    const int error = posix_memalign(&bytes, huge ? kHugePageBytes : kAlignment, rounded);
    VL2_CHECK(error == 0) << "out of memory: " << rounded << " bytes";
    // Advice: refused by kernels without huge pages, and then nothing is lost.
    if (huge) madvise(bytes, rounded, MADV_HUGEPAGE);
    bytes_.reset(static_cast<std::byte*>(bytes));
  }

  std::byte* data() { return bytes_.get(); }
  const std::byte* data() const { return bytes_.get(); }
  size_t size() const { return num_bytes_; }
  void Zero() {
    if (num_bytes_ > 0) std::memset(bytes_.get(), 0, num_bytes_);
  }

  // Gives the bytes up; they go to Free.
  std::byte* release() {
    num_bytes_ = 0;
    return bytes_.release();
  }
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };

 private:
  size_t num_bytes_ = 0;
  std::unique_ptr<std::byte, Free> bytes_;
};

}  // namespace vl2
