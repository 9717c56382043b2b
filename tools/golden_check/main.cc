// golden_check: holds this implementation against golden values. See --help.
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "runtime/base/cpu_quota.h"
#include "runtime/base/status.h"
#include "runtime/base/usage.h"
#include "tools/golden_check/checks.h"

ABSL_FLAG(std::string, ops, "cpu", "Backend: ref (the double-precision oracle) or cpu.");
ABSL_FLAG(
    std::string, activations, "f32",
    "f32, or bf16: every operation's result is rounded; differences are reported, not judged.");
ABSL_FLAG(int64_t, chunk, 0, "Prompt tokens per prefill chunk; 0: the whole prompt at once.");
ABSL_FLAG(int64_t, batch, 1, "Sequences that run together: each case with batch - 1 others.");
ABSL_FLAG(int, threads, 0, "Threads; 0: as many as the machine has.");
ABSL_FLAG(std::string, filter, "",
          "Run only outputs whose name (outputs/<model>/<case>) contains this.");

namespace vl2 {
namespace {

absl::StatusOr<GoldenOptions> ReadFlags(const std::string& dir) {
  GoldenOptions options;
  options.dir = dir;
  options.ops = absl::GetFlag(FLAGS_ops);
  options.activations = absl::GetFlag(FLAGS_activations);
  options.chunk = absl::GetFlag(FLAGS_chunk);
  options.batch = absl::GetFlag(FLAGS_batch);
  options.num_threads = absl::GetFlag(FLAGS_threads);
  options.filter = absl::GetFlag(FLAGS_filter);
  std::error_code error;
  if (!std::filesystem::is_directory(dir, error)) {
    return absl::NotFoundError(Cat(dir, ": no such folder"));
  }
  if (options.ops != "ref" && options.ops != "cpu") {
    return InvalidArgument("--ops=", options.ops, " is not one of ref, cpu");
  }
  if (options.activations != "f32" && options.activations != "bf16") {
    return InvalidArgument("--activations=", options.activations, " is not one of f32, bf16");
  }
  if (options.chunk < 0) return InvalidArgument("--chunk=", options.chunk, " is negative");
  if (options.batch < 1 || options.batch > 256) {
    return InvalidArgument("--batch=", options.batch, " is outside [1, 256]");
  }
  if (options.num_threads < 0 || options.num_threads > ThreadPool::kMaxThreads) {
    return InvalidArgument("--threads=", options.num_threads, " is outside [0, ",
                           ThreadPool::kMaxThreads, "]");
  }
  if (options.num_threads == 0) {
    options.num_threads = UsableCores();
  }
  return options;
}

}  // namespace
}  // namespace vl2

int main(int argc, char** argv) {
  vl2::SetUsage(
      "golden_check [flags] DIR\n"
      "Checks everything in a folder of golden values (checkpoints, cases, outputs, tokenizer, "
      "pixels, …) and prints a line for each item with its largest error beside the tolerance. "
      "Exits "
      "with 1 when an item misses or nothing is found.",
      "tools/golden_check/main.cc");
  const std::vector<char*> args = absl::ParseCommandLine(argc, argv);
  if (args.size() != 2) {
    std::cerr << "golden_check: one folder is needed, see --help\n";
    return 2;
  }
  const auto options = vl2::ReadFlags(args[1]);
  if (!options.ok()) {
    std::cerr << "golden_check: " << vl2::Message(options.status()) << "\n";
    return 2;
  }
  vl2::ThreadPool pool(options->num_threads);
  vl2::Report report(/*report_only=*/options->activations == "bf16");
  vl2::RunGoldenChecks(*options, pool, report);
  return report.Finish();
}
