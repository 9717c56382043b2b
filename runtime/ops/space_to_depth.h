// SpaceToDepth: joins ratio × ratio neighbours of a square grid into one row, the grid padded with
// zeros at the bottom and right to a multiple of ratio. Source: MlpProjector.forward
// (F.pad + F.unfold): column index = channel · ratio² + dy · ratio + dx.
#pragma once

#include <cstdint>

#include "runtime/tensor/matrix.h"

namespace vl2 {

struct SpaceToDepthArgs {
  ConstMatrix x;  // [num_tiles * side * side, channels]
  int64_t num_tiles = 0;
  int64_t side = 0;   // 27
  int64_t ratio = 0;  // 2
  Matrix out;         // [num_tiles * ceil(side/ratio)², channels * ratio²]
};

}  // namespace vl2
