// Device: the memory that one backend computes in. Buffer: a piece of it.
//
// An address belongs to its device. Only the bodies of operations read and write through it; all
// others use the device's copies, which are also the only way from one device to another. Memory of
// the host itself is a device too (HostMemory), and there copies may be left out: ToHost in
// matrix.h does that.
//
// Threading: one thread at a time uses a device and what lies on it (an engine's thread).
// Errors: running out of memory aborts; whoever sizes a cache asks FreeBytes first.
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>

namespace vl2 {

class Buffer;

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string_view name() const = 0;
  // Whether the calling code may use the device's addresses as its own.
  virtual bool host_access() const = 0;

  // Not initialised, aligned to 64 bytes.
  Buffer Allocate(size_t num_bytes);

  // In the order of the calls, and after the operations before them. The host's side may be used
  // again when the call returns.
  virtual void CopyFromHost(std::byte* to, const std::byte* from, size_t num_bytes) = 0;
  virtual void CopyToHost(std::byte* to, const std::byte* from, size_t num_bytes) = 0;
  virtual void Copy(std::byte* to, const std::byte* from, size_t num_bytes) = 0;
  virtual void Fill(std::byte* to, std::byte value, size_t num_bytes) = 0;
  // Returns when everything before has been done.
  virtual void Synchronize() = 0;
  // What Allocate could still give.
  virtual size_t FreeBytes() const = 0;
  // Where the host prepares what is copied from and to this device fastest.
  virtual Device& staging();

 private:
  friend class Buffer;
  virtual std::byte* Acquire(size_t num_bytes) = 0;
  virtual void Release(std::byte* bytes, size_t num_bytes) = 0;
};

// Move-only owner of memory. Its device outlives it.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { Swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer taken(std::move(other));
    Swap(taken);
    return *this;
  }
  ~Buffer() {
    if (bytes_ != nullptr) device_->Release(bytes_, num_bytes_);
  }

  Device* device() const { return device_; }
  std::byte* bytes() const { return bytes_; }
  size_t size() const { return num_bytes_; }

 private:
  friend class Device;
  Buffer(Device* device, std::byte* bytes, size_t num_bytes)
      : device_(device), bytes_(bytes), num_bytes_(num_bytes) {}
  void Swap(Buffer& other) {
    std::swap(device_, other.device_);
    std::swap(bytes_, other.bytes_);
    std::swap(num_bytes_, other.num_bytes_);
  }

  Device* device_ = nullptr;
  std::byte* bytes_ = nullptr;
  size_t num_bytes_ = 0;
};

// The host's own memory; pages of a large buffer cost nothing until they are written. Lives for
// ever, may be used by several threads.
Device& HostMemory();

}  // namespace vl2
