// GoldenFile: the tensors of one golden safetensors file, with plain access for comparisons.
// Errors: a tensor that is missing or of another type is reported by the returned status.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/checkpoint/safetensors.h"

namespace vl2 {

class GoldenFile {
 public:
  static absl::StatusOr<GoldenFile> Open(const std::string& path);

  bool Has(const std::string& name) const { return file_->header().contains(name); }
  const SafetensorsHeader& header() const { return file_->header(); }
  absl::StatusOr<std::vector<float>> Floats(const std::string& name) const;
  // I64, I32, U8 or BOOL, widened.
  absl::StatusOr<std::vector<int64_t>> Ints(const std::string& name) const;
  absl::StatusOr<TensorView> Find(const std::string& name) const { return file_->Find(name); }

 private:
  std::unique_ptr<SafetensorsFile> file_;
};

}  // namespace vl2
