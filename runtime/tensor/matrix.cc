#include "runtime/tensor/matrix.h"

namespace vl2 {
namespace {

// Calls copy(first row, bytes) for runs of rows that lie together on both sides.
template <typename Copy>
void ForRuns(int64_t rows, int64_t cols, bool dense, const Copy& copy) {
  const auto row_bytes = static_cast<size_t>(cols) * sizeof(float);
  if (dense) return copy(0, static_cast<size_t>(rows) * row_bytes);
  for (int64_t row = 0; row < rows; ++row) copy(row, row_bytes);
}

}  // namespace

ConstMatrix ReadableByHost(ConstMatrix matrix, GrowingHostMatrix& memory) {
  if (matrix.empty() || matrix.device->host_access()) return matrix;
  VL2_CHECK(SizeOf(matrix.dtype) == sizeof(float)) << Name(matrix.dtype);
  const HostMatrix copy = memory.Resize(matrix.rows, matrix.cols);
  ForRuns(matrix.rows, matrix.cols, matrix.stride == matrix.cols, [&](int64_t row, size_t bytes) {
    matrix.device->CopyToHost(reinterpret_cast<std::byte*>(copy.row(row)), matrix.row(row), bytes);
  });
  ConstMatrix readable = OnHost(copy);
  readable.dtype = matrix.dtype;
  return readable;
}

HostMatrix ToHost(Matrix matrix, GrowingHostMatrix& memory) {
  const ConstHostMatrix values = ToHost(ConstMatrix(matrix), memory);
  return {const_cast<float*>(values.data), values.rows, values.cols, values.stride};
}

void FromHost(ConstHostMatrix values, Matrix matrix) {
  VL2_CHECK(values.rows == matrix.rows && values.cols == matrix.cols && matrix.dtype == DType::kF32)
      << "[" << values.rows << ", " << values.cols << "] into [" << matrix.rows << ", "
      << matrix.cols << "] " << Name(matrix.dtype);
  const bool dense = values.stride == values.cols && matrix.stride == matrix.cols;
  ForRuns(values.rows, values.cols, dense, [&](int64_t row, size_t bytes) {
    matrix.device->CopyFromHost(matrix.row(row),
                                reinterpret_cast<const std::byte*>(values.row(row)), bytes);
  });
}

}  // namespace vl2
