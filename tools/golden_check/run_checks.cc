#include "tools/golden_check/checks.h"

namespace vl2 {

void RunGoldenChecks(const GoldenOptions& options, ThreadPool& pool, Report& report) {
  if (options.filter.empty()) {
    CheckTokenizer(options, report);
    CheckProcessor(options, report);
    CheckResolution(options, report);
    CheckPixels(options, report);
    CheckJpeg(options, report);
    CheckPreprocess(options, report);
    CheckSampler(options, report);
  }
  CheckOutputs(options, pool, report);
}

}  // namespace vl2
