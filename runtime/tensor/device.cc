#include "runtime/tensor/device.h"

#include <unistd.h>

#include <cstring>

#include "runtime/base/aligned_buffer.h"

namespace vl2 {
namespace {

class HostDevice final : public Device {
 public:
  std::string_view name() const override { return "host"; }
  bool host_access() const override { return true; }
  void CopyFromHost(std::byte* to, const std::byte* from, size_t num_bytes) override {
    Copy(to, from, num_bytes);
  }
  void CopyToHost(std::byte* to, const std::byte* from, size_t num_bytes) override {
    Copy(to, from, num_bytes);
  }
  void Copy(std::byte* to, const std::byte* from, size_t num_bytes) override {
    if (num_bytes > 0) std::memcpy(to, from, num_bytes);
  }
  void Fill(std::byte* to, std::byte value, size_t num_bytes) override {
    if (num_bytes > 0) std::memset(to, static_cast<int>(value), num_bytes);
  }
  void Synchronize() override {}
  size_t FreeBytes() const override {
    return static_cast<size_t>(sysconf(_SC_AVPHYS_PAGES)) *
           static_cast<size_t>(sysconf(_SC_PAGESIZE));
  }

 private:
  std::byte* Acquire(size_t num_bytes) override { return AlignedBuffer(num_bytes).release(); }
  void Release(std::byte* bytes, size_t) override { AlignedBuffer::Free()(bytes); }
};

}  // namespace

Buffer Device::Allocate(size_t num_bytes) {
  return num_bytes == 0 ? Buffer() : Buffer(this, Acquire(num_bytes), num_bytes);
}

Device& Device::staging() { return HostMemory(); }

Device& HostMemory() {
  static auto* const device = new HostDevice;
  return *device;
}

}  // namespace vl2
