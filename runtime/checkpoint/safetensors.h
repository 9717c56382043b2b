// Safetensors files, read by memory mapping.
//
// Layout: 8 bytes little-endian header length, a JSON header {name: {dtype, shape, data_offsets}},
// then the tensors' bytes, row-major and little-endian. The file comes from outside: header length,
// JSON, dtypes, shapes, offsets (inside the file, in no two tensors at once, as long as the shape
// says) are checked before anything is used, and errors name the file and the tensor.
//
// Owns: the mapping. Views borrow from it. Threading: immutable after Open; Release is thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/tensor/tensor.h"

namespace vl2 {

struct SafetensorsLimits {
  static constexpr uint64_t kMaxHeaderBytes = uint64_t{100} << 20;
  static constexpr size_t kMaxTensors = 1'000'000;
};

struct SafetensorsEntry {
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t begin = 0;  // byte offsets into the data part
  uint64_t end = 0;
};

// By name, in order of name.
using SafetensorsHeader = std::map<std::string, SafetensorsEntry, std::less<>>;

// Checks and reads a header. `data_bytes` is the size of the file's data part.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json, uint64_t data_bytes,
                                                         const std::string& context);

class SafetensorsFile {
 public:
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& path() const { return path_; }
  const SafetensorsHeader& header() const { return header_; }
  // NOT_FOUND names file and tensor. Files promise no alignment: see IsAligned (tensor.h).
  absl::StatusOr<TensorView> Find(std::string_view name) const;

  // Gives the pages of a tensor back to the system; they are read again from the file when touched.
  void Release(const TensorView& view) const;

 private:
  SafetensorsFile() = default;

  std::string path_;
  const std::byte* mapping_ = nullptr;
  size_t num_bytes_ = 0;
  const std::byte* data_ = nullptr;
  SafetensorsHeader header_;
};

}  // namespace vl2
