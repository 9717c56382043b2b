// The inner loops of Resampler, in the widest vectors the processor has (Highway, chosen at run
// time). All instruction sets give the same bytes: integer sums only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "vision_service/image/resample.h"

namespace vl2 {

// Resizes `num_rows` rows of RGB pixels along x:
//   out[y, i, c] = Clip((2^21 + sum_t in[y, first_i + t, c]·weight_i[t]) >> 22)
// Reads up to 64 bytes past the last pixel used of a row (Image's padding); writes exactly
// 3·windows.size() bytes a row.
void ResampleRowsX(const uint8_t* in, size_t in_stride_bytes, int num_rows,
                   const ResampleWeights& weights, uint8_t* out, size_t out_stride_bytes);

// One output row along y: out[j] = Clip((2^21 + sum_t rows[t, j]·weights[t]) >> 22) for the
// `num_bytes` bytes of a row.
void ResampleRowY(const uint8_t* rows, size_t stride_bytes, int count, const int32_t* weights,
                  size_t num_bytes, uint8_t* out);

}  // namespace vl2
