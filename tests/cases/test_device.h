// TestDevice: host memory that shows wrong use of a device.
//
// Every piece lies in pages of its own, its end close to a page that nobody may touch; new memory
// is full of NaN, and given back memory may not be touched any more. With kInsideOperations the
// host may touch the rest only while an operation of GuardedOps or a copy of the device runs, as
// with memory of a GPU: a read by anybody else ends the process.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <memory>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/ops/forwarding_ops.h"
#include "runtime/tensor/device.h"

namespace vl2 {

class TestDevice final : public Device {
 public:
  enum class Access { kAlways, kInsideOperations };

  explicit TestDevice(Access access) : access_(access) {
    arena_ = static_cast<std::byte*>(
        mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    VL2_CHECK(arena_ != MAP_FAILED);
  }
  ~TestDevice() override {
    VL2_CHECK(pieces_.empty()) << pieces_.size() << " buffers outlive their device";
    munmap(arena_, kArenaBytes);
  }

  std::string_view name() const override { return "test device"; }
  bool host_access() const override { return access_ == Access::kAlways || num_open_ > 0; }
  void CopyFromHost(std::byte* to, const std::byte* from, size_t num_bytes) override {
    Copy(to, from, num_bytes);
  }
  void CopyToHost(std::byte* to, const std::byte* from, size_t num_bytes) override {
    Copy(to, from, num_bytes);
  }
  void Copy(std::byte* to, const std::byte* from, size_t num_bytes) override {
    Open();
    if (num_bytes > 0) std::memcpy(to, from, num_bytes);
    Close();
  }
  void Fill(std::byte* to, std::byte value, size_t num_bytes) override {
    Open();
    if (num_bytes > 0) std::memset(to, static_cast<int>(value), num_bytes);
    Close();
  }
  void Synchronize() override {}
  size_t FreeBytes() const override { return kArenaBytes - used_; }

  // Between these the memory may be used. They nest.
  void Open() {
    if (num_open_++ == 0) Protect(PROT_READ | PROT_WRITE);
  }
  void Close() {
    if (--num_open_ == 0) Protect(PROT_NONE);
  }

 private:
  static constexpr size_t kArenaBytes = size_t{8} << 30;  // addresses only

  static size_t PageBytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }
  void Protect(int protection) {
    if (access_ == Access::kAlways) return;
    for (const auto& [pages, num_bytes] : pieces_) {
      VL2_CHECK(mprotect(pages, num_bytes, protection) == 0);
    }
  }
  std::byte* Pages(std::byte* bytes) const {
    return bytes - static_cast<size_t>(bytes - arena_) % PageBytes();
  }

  std::byte* Acquire(size_t num_bytes) override {
    const size_t rounded = (num_bytes + 63) / 64 * 64;
    const size_t pages_bytes = (rounded + PageBytes() - 1) / PageBytes() * PageBytes();
    VL2_CHECK(used_ + pages_bytes + PageBytes() <= kArenaBytes) << num_bytes << " bytes";
    std::byte* const pages = arena_ + used_;
    used_ += pages_bytes + PageBytes();
    VL2_CHECK(mprotect(pages, pages_bytes, PROT_READ | PROT_WRITE) == 0);
    std::memset(pages, 0xff, pages_bytes);
    pieces_[pages] = pages_bytes;
    if (!host_access()) VL2_CHECK(mprotect(pages, pages_bytes, PROT_NONE) == 0);
    return pages + (pages_bytes - rounded);
  }
  void Release(std::byte* bytes, size_t) override {
    const auto piece = pieces_.find(Pages(bytes));
    VL2_CHECK(piece != pieces_.end());
    VL2_CHECK(mprotect(piece->first, piece->second, PROT_NONE) == 0);
    madvise(piece->first, piece->second, MADV_DONTNEED);
    pieces_.erase(piece);
  }

  const Access access_;
  std::byte* arena_ = nullptr;
  size_t used_ = 0;
  int num_open_ = 0;
  std::map<std::byte*, size_t> pieces_;
};

// Operations that open their device while they run.
class GuardedOps final : public ForwardingOps {
 public:
  GuardedOps(std::unique_ptr<Ops> inner, TestDevice& device)
      : ForwardingOps(std::move(inner)), device_(device) {}

 private:
  void Before() override { device_.Open(); }
  void After(Matrix) override { device_.Close(); }

  TestDevice& device_;
};

}  // namespace vl2
