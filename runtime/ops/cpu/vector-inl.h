// The vector type of the kernels: float32, at most 16 lanes, and partial loads and stores for the
// ends of rows.
//
// Included once per instruction set.
#if defined(RUNTIME_OPS_CPU_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RUNTIME_OPS_CPU_VECTOR_INL_H_
#undef RUNTIME_OPS_CPU_VECTOR_INL_H_
#else
#define RUNTIME_OPS_CPU_VECTOR_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, 16>;
using VF = hn::Vec<DF>;
inline constexpr size_t kVectorLanes = hn::MaxLanes(DF());

// The first `count` floats, 0 in the other lanes. Reads nothing beyond them.
HWY_INLINE VF LoadPart(const float* from, int64_t count) {
  alignas(64) float lanes[kVectorLanes] = {};
  std::memcpy(lanes, from, static_cast<size_t>(count) * sizeof(float));
  return hn::Load(DF(), lanes);
}

// Writes the first `count` lanes and nothing beyond them.
HWY_INLINE void StorePart(VF value, float* to, int64_t count) {
  alignas(64) float lanes[kVectorLanes];
  hn::Store(value, DF(), lanes);
  std::memcpy(to, lanes, static_cast<size_t>(count) * sizeof(float));
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#endif  // include guard
