#include "tools/golden_check/checks.h"

namespace vl2 {

void CheckSampler(const GoldenOptions& options, Report& report) {
  (void)options;
  report.Absent("sampler/");
}

}  // namespace vl2
