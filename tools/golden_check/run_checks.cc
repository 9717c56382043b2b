#include "tools/golden_check/checks.h"

namespace vl2 {

void RunGoldenChecks(const GoldenOptions& options, ThreadPool& pool, Report& report) {
  CheckOutputs(options, pool, report);
}

}  // namespace vl2
