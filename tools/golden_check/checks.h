// The parts of golden_check, one function per folder of golden data. Each reports what it finds and
// says "absent" where the folder lacks the part. See the golden data's README for the files.
#pragma once

#include "runtime/base/thread_pool.h"
#include "tools/golden_check/options.h"
#include "tools/golden_check/report.h"

namespace vl2 {

void CheckTokenizer(const GoldenOptions& options, Report& report);
void CheckProcessor(const GoldenOptions& options, Report& report);
void CheckResolution(const GoldenOptions& options, Report& report);
void CheckPixels(const GoldenOptions& options, Report& report);
void CheckJpeg(const GoldenOptions& options, Report& report);
void CheckPreprocess(const GoldenOptions& options, Report& report);
void CheckSampler(const GoldenOptions& options, Report& report);
// Every checkpoint with every case: vision, projector, decoder, router, cache, logits, greedy ids.
void CheckOutputs(const GoldenOptions& options, ThreadPool& pool, Report& report);

// All of the above.
void RunGoldenChecks(const GoldenOptions& options, ThreadPool& pool, Report& report);

}  // namespace vl2
