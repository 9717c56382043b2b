#include "tools/golden_check/golden_file.h"

#include "runtime/base/status.h"

namespace vl2 {

absl::StatusOr<GoldenFile> GoldenFile::Open(const std::string& path) {
  GoldenFile golden;
  VL2_ASSIGN_OR_RETURN(golden.file_, SafetensorsFile::Open(path));
  return golden;
}

absl::StatusOr<std::vector<float>> GoldenFile::Floats(const std::string& name) const {
  VL2_ASSIGN_OR_RETURN(const TensorView found, file_->Find(name));
  const Tensor view = CopyOf(found);
  if (view.dtype() != DType::kF32) {
    return InvalidArgument(file_->path(), ": ", name, " is ", Name(view.dtype()), ", expected F32");
  }
  const float* data = view.data<float>();
  return std::vector<float>(data, data + view.shape().num_elements());
}

absl::StatusOr<std::vector<int64_t>> GoldenFile::Ints(const std::string& name) const {
  VL2_ASSIGN_OR_RETURN(const TensorView found, file_->Find(name));
  const Tensor view = CopyOf(found);
  const int64_t count = view.shape().num_elements();
  switch (view.dtype()) {
    case DType::kI64:
      return std::vector<int64_t>(view.data<int64_t>(), view.data<int64_t>() + count);
    case DType::kI32:
      return std::vector<int64_t>(view.data<int32_t>(), view.data<int32_t>() + count);
    case DType::kU8:
    case DType::kBool: {
      const auto* bytes = reinterpret_cast<const uint8_t*>(view.bytes());
      return std::vector<int64_t>(bytes, bytes + count);
    }
    default:
      return InvalidArgument(file_->path(), ": ", name, " is ", Name(view.dtype()),
                             ", expected integers");
  }
}

}  // namespace vl2
