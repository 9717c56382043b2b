// Units of Matmul whose weights are integers.
#pragma once

#include <cstdint>

#include "runtime/ops/cpu/matmul.h"

namespace vl2 {

using RunUnitFunction = void (*)(const MatmulTask& task, const MatmulUnit& unit, uint64_t run,
                                 MatmulScratch& scratch);

// For the instruction set that runs. REQUIRES of a task: weights in a format other than kAsStored.
RunUnitFunction QuantizedRunUnit();

}  // namespace vl2
