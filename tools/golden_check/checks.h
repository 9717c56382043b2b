// The parts of golden_check, one function per folder of golden data. Each reports what it finds and
// says "absent" where the folder lacks the part. See the golden data's README for the files.
#pragma once

#include "runtime/base/thread_pool.h"
#include "tools/golden_check/golden_file.h"
#include "tools/golden_check/options.h"
#include "tools/golden_check/prepared_case.h"
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

// Ids, mask and crops of a case, against the tensors that outputs/ and preprocess/ both hold.
void CheckPrompt(const std::string& item, const GoldenFile& golden, const PreparedCase& prepared,
                 Report& report);

// Tiles of the published models, for the parts of a golden folder that belong to no checkpoint.
TileGeometry PublishedGeometry();

// All of the above.
void RunGoldenChecks(const GoldenOptions& options, ThreadPool& pool, Report& report);

}  // namespace vl2
