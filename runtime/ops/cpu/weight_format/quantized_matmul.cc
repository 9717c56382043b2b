#include "runtime/ops/cpu/weight_format/quantized_matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/weight_format/quantized_matmul.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "runtime/ops/cpu/matmul_unit-inl.h"
#include "runtime/ops/cpu/weight_format/quantized_panels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {

template <WeightFormat kFormat, ByteProducts kBy>
void RunUnitIn(const MatmulTask& task, const MatmulUnit& unit, uint64_t run,
               MatmulScratch& scratch) {
  RunUnitWith(QuantizedPanels<kFormat, kBy>(task.weights->data(), task.weights->panel_bytes()),
              task, unit, run, scratch);
}

// The one place that knows which formats there are.
template <ByteProducts kBy>
void RunUnitBy(const MatmulTask& task, const MatmulUnit& unit, uint64_t run,
               MatmulScratch& scratch) {
  switch (task.weights->format()) {
    case WeightFormat::kAsStored:
      return;
    case WeightFormat::kW7A8:
      return RunUnitIn<WeightFormat::kW7A8, kBy>(task, unit, run, scratch);
    case WeightFormat::kW8A16:
      return RunUnitIn<WeightFormat::kW8A16, kBy>(task, unit, run, scratch);
    case WeightFormat::kW4A8:
      return RunUnitIn<WeightFormat::kW4A8, kBy>(task, unit, run, scratch);
  }
}

void RunQuantizedUnit(const MatmulTask& task, const MatmulUnit& unit, uint64_t run,
                      MatmulScratch& scratch) {
#if HWY_TARGET == HWY_AVX2
  switch (CpuByteProducts()) {
    case ByteProducts::kVex:
      return RunUnitBy<ByteProducts::kVex>(task, unit, run, scratch);
    case ByteProducts::kEvex:
      return RunUnitBy<ByteProducts::kEvex>(task, unit, run, scratch);
    default:
      break;
  }
#elif HWY_TARGET == HWY_NEON
  if (CpuByteProducts() == ByteProducts::kDot) {
    return RunUnitBy<ByteProducts::kDot>(task, unit, run, scratch);
  }
#endif
  RunUnitBy<ByteProducts::kOwn>(task, unit, run, scratch);
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vl2 {

HWY_EXPORT(RunQuantizedUnit);

RunUnitFunction QuantizedRunUnit() { return HWY_DYNAMIC_DISPATCH(RunQuantizedUnit); }

}  // namespace vl2
#endif  // HWY_ONCE
