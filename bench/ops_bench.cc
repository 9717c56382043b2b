// ops_bench: times the operations at the published models' shapes (the case tables of tests/cases)
// and prints them beside what the machine can do at most, measured in the same run.
//
//   ops_bench [--threads=N] [--filter=TEXT] [--cpu_target=AVX2] [--seconds=0.3] [--json=FILE]
//
// Weights of products with few rows are taken in turns from more copies than caches hold, as a
// model reads them. The peaks are measured again at the end; on a busy machine the two differ.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "bench/cpu_peaks.h"
#include "nlohmann/json.hpp"
#include "runtime/base/cpu_quota.h"
#include "runtime/base/status.h"
#include "runtime/ops/cpu/cpu_target.h"
#include "runtime/ops/cpu/make_cpu_ops.h"
#include "tests/cases/attention_cases.h"
#include "tests/cases/linear_cases.h"
#include "tests/cases/moe_cases.h"
#include "tests/cases/row_cases.h"

ABSL_FLAG(int, threads, 0, "threads; 0: as many as the machine has");
ABSL_FLAG(std::string, filter, "", "only cases whose name contains this");
ABSL_FLAG(std::string, cpu_target, "", "instruction set; empty: the best of the machine");
ABSL_FLAG(double, seconds, 0.3, "time a case is repeated for");
ABSL_FLAG(std::string, json, "", "file for the results");

namespace vl2 {
namespace {

using Clock = std::chrono::steady_clock;

// What one run of a case does.
struct Work {
  double flops = 0;
  double bytes = 0;
};

struct Result {
  std::string name;
  Work work;
  double median_s = 0;
  double best_s = 0;
  double flops_of_peak = 0;  // at the median
  double bytes_of_peak = 0;
};

class Bench {
 public:
  explicit Bench(CpuPeaks* peaks) : peaks_(peaks) {
    std::printf("%-44s %11s %11s %8s %6s %8s %6s\n", "case", "median us", "best us", "GFLOP/s",
                "peak", "GB/s", "peak");
  }

  bool Wants(const std::string& name) const {
    return name.find(absl::GetFlag(FLAGS_filter)) != std::string::npos;
  }

  // run(i) is the i-th repetition.
  void Time(const std::string& name, const Work& work, const std::function<void(int)>& run) {
    if (!Wants(name)) return;
    constexpr int kPeakRounds = 3;
    std::vector<double> seconds;
    for (int i = 0; i < 2; ++i) run(i);
    peaks_->Measure(kPeakRounds);
    double total = 0;
    for (int i = 2; total < absl::GetFlag(FLAGS_seconds) || seconds.size() < 5; ++i) {
      const Clock::time_point start = Clock::now();
      run(i);
      seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
      total += seconds.back();
    }
    std::sort(seconds.begin(), seconds.end());
    peaks_->Measure(kPeakRounds);
    Result result = {name, work, seconds[seconds.size() / 2], seconds.front()};
    result.flops_of_peak = work.flops / result.median_s / peaks_->recent_flops(2 * kPeakRounds);
    result.bytes_of_peak =
        work.bytes / result.median_s / peaks_->recent_read_bytes(2 * kPeakRounds);
    std::printf("%-44s %11.1f %11.1f %8.1f %5.1f%% %8.2f %5.1f%%\n", name.c_str(),
                result.median_s * 1e6, result.best_s * 1e6, work.flops / result.median_s / 1e9,
                100 * result.flops_of_peak, work.bytes / result.median_s / 1e9,
                100 * result.bytes_of_peak);
    std::fflush(stdout);
    results_.push_back(std::move(result));
  }

  const std::vector<Result>& results() const { return results_; }

 private:
  CpuPeaks* const peaks_;
  std::vector<Result> results_;
};

// More than the caches of one machine hold.
constexpr double kColdBytes = 400e6;

// "linear tiny o w4a8 x1": weights as stored have no format in the name.
std::string CaseName(std::string_view operation, std::string_view shape, WeightFormat format,
                     int64_t rows) {
  const bool stored = format == WeightFormat::kAsStored;
  return Cat(operation, " ", shape, stored ? "" : Cat(" ", Name(format)), " x", rows);
}

void BenchLinear(Bench& bench, Ops* ops, WeightFormat format) {
  for (const LinearShape& shape : ModelLinearShapes()) {
    LinearCase c = shape.product;
    if (format != WeightFormat::kAsStored && c.dtype == DType::kF32) continue;  // stays as it is
    c.format = format;
    const auto name = [&](int64_t rows) { return CaseName("linear", shape.name, format, rows); };
    if (c.rows > 1) {
      if (!bench.Wants(name(c.rows))) continue;
      LinearProblem problem(c, ops);
      bench.Time(name(c.rows), {problem.flops(), problem.bytes()}, [&](int) { problem.Run(ops); });
      continue;
    }
    bool wanted = false;
    for (const int64_t rows : {1, 2, 4, 8, 16, 64, 512}) wanted |= bench.Wants(name(rows));
    if (!wanted) continue;
    c.rows = 512;
    if (c.residual_rows > 0) c.residual_rows = 512;
    std::vector<std::unique_ptr<LinearProblem>> copies;
    double bytes = 0;
    while (bytes < kColdBytes) {
      copies.push_back(std::make_unique<LinearProblem>(c, ops));
      bytes += copies.back()->bytes();
    }
    const double flops_per_row = copies[0]->flops() / 512;
    const double weight_bytes = copies[0]->bytes() - 4.0 * 512 * static_cast<double>(c.in + c.out);
    for (const int64_t rows : {1, 2, 4, 8, 16, 64, 512}) {
      if (rows > 16 && c.out > 20000) continue;  // logits of many rows are never computed
      const Work work = {flops_per_row * static_cast<double>(rows),
                         weight_bytes + 4.0 * static_cast<double>(rows * (c.in + c.out))};
      bench.Time(name(rows), work, [&](int i) {
        copies[static_cast<size_t>(i) % copies.size()]->RunRows(ops, 0, rows);
      });
    }
  }
}

void BenchMoe(Bench& bench, Ops* ops, WeightFormat format) {
  for (MoeCase c : ModelMoeShapes()) {
    c.format = format;
    for (const int64_t tokens : {1, 4, 8, 16, 64, 512}) {
      const std::string name = CaseName("moe", c.name, format, tokens);
      if (!bench.Wants(name)) continue;
      // Several batches of tokens, so that few of them do not use the same experts every time.
      c.tokens = tokens * std::max<int64_t>(1, 64 / tokens);
      MoeProblem problem(c, ops);
      const auto share = static_cast<double>(tokens) / static_cast<double>(c.tokens);
      bench.Time(name, {problem.flops() * share, problem.bytes(0, tokens)},
                 [&](int i) { problem.Run(ops, i % (c.tokens / tokens) * tokens, tokens); });
    }
  }
}

void BenchAttention(Bench& bench, Ops* ops) {
  struct Context {
    const char* name;
    std::vector<SequenceCase> sequences;
  };
  const std::vector<Context> contexts = {
      {"decode at 1000", {{1000, 1, 900}}},
      {"decode at 4000", {{4000, 1, 900}}},
      {"decode 8 at 1000", std::vector<SequenceCase>(8, {1000, 1, 900})},
      {"prefill 256 at 0", {{0, 256, 5000}}},
      {"prefill 256 at 1000", {{1000, 256, 5000}}},
      {"prefill 1024 at 0", {{0, 1024, 5000}}},
  };
  for (const Context& context : contexts) {
    AttentionCase c;
    c.sequences = context.sequences;
    c.num_heads = c.num_kv_heads = 10;
    c.head_dim = 128;
    const std::string causal_name = Cat("causal tiny ", context.name);
    if (bench.Wants(causal_name)) {
      CausalProblem problem(c, ops);
      bench.Time(causal_name, {problem.flops(), problem.bytes()}, [&](int) { problem.Run(ops); });
    }
    for (const int64_t heads : {16, 32}) {
      const std::string name = Cat("latent ", heads == 16 ? "small " : "base ", context.name);
      if (!bench.Wants(name)) continue;
      c.num_heads = heads;
      c.latent = {heads, 512, 128, 64, 128};
      LatentProblem problem(c, ops);
      bench.Time(name, {problem.flops(), problem.bytes()}, [&](int) { problem.Run(ops); });
    }
  }
  for (const int64_t tiles : {1, 4}) {
    const std::string name = Cat("full tower x", tiles);
    if (!bench.Wants(name)) continue;
    FullAttentionProblem problem({tiles, 729, 16, 72}, ops);
    bench.Time(name, {problem.flops(), problem.bytes()}, [&](int) { problem.Run(ops, 0, tiles); });
  }
}

void BenchRowOps(Bench& bench, Ops* ops) {
  for (const NormCase& c : {NormCase{1, 2048}, {512, 2048}, {729, 1152}}) {
    NormProblem problem(c, ops);
    const double bytes = 8.0 * static_cast<double>(c.rows * c.cols);
    bench.Time(Cat("rms_norm ", c.rows, "x", c.cols), {0, bytes},
               [&](int) { problem.RunRms(ops, 0, c.rows); });
    bench.Time(Cat("layer_norm ", c.rows, "x", c.cols), {0, bytes},
               [&](int) { problem.RunLayer(ops, 0, c.rows); });
  }
  for (const int64_t tokens : {1, 512}) {
    RouteCase c = RouteTestCases()[4];
    c.tokens = tokens;
    RouteProblem problem(c, ops);
    bench.Time(Cat("route base x", tokens),
               {2.0 * static_cast<double>(tokens * c.hidden * c.config.num_experts),
                4.0 * static_cast<double>(c.hidden * (c.config.num_experts + tokens))},
               [&](int) { problem.Run(ops, 0, tokens); });
    const RotaryCase rotary = {tokens, 16, 192, 128, 64, RotaryLayout::kInterleaved};
    RotaryProblem rotation(rotary, ops);
    bench.Time(Cat("rotary small x", tokens), {0, 8.0 * static_cast<double>(tokens * 16 * 64)},
               [&](int) { rotation.Run(ops, 0, tokens); });
    const std::vector<SequenceCase> sequences = {{0, tokens, tokens}};
    PagedCacheData cache(sequences, 10, 128, 0, ops);
    const std::unique_ptr<Batch> batch = cache.BatchOf(cache.sequences(), ops);
    const SpacedMatrix keys(tokens, 1280, 0, 1.0f, 1);
    bench.Time(Cat("write_keys_values tiny x", tokens),
               {0, 16.0 * static_cast<double>(tokens * 1280)}, [&](int) {
                 ops->WriteKeysValues({.keys = keys.view(),
                                       .values = keys.view(),
                                       .num_kv_heads = 10,
                                       .head_dim = 128,
                                       .batch = batch.get(),
                                       .cache = cache.layer()});
               });
  }
  const SpacedMatrix x(729, 1152, 0, 1.0f, 1);
  SpacedMatrix out(196, 4608, 0);
  bench.Time("space_to_depth 27x27x1152", {0, 8.0 * 196 * 4608}, [&](int) {
    ops->SpaceToDepth({.x = x.view(), .num_tiles = 1, .side = 27, .ratio = 2, .out = out.view()});
  });
}

// The commit of the sources, by git; "unknown" outside a checkout.
std::string Commit() {
  std::string text;
  if (FILE* pipe = popen("git -C " VL2_SOURCE_DIR " describe --always --dirty 2>/dev/null", "r")) {
    for (int c; (c = std::fgetc(pipe)) != EOF && c != '\n';) text.push_back(static_cast<char>(c));
    pclose(pipe);
  }
  return text.empty() ? "unknown" : text;
}

nlohmann::json ToJson(const Bench& bench, const CpuPeaks& peaks, int num_threads,
                      const std::string& commit) {
  nlohmann::json cases = nlohmann::json::array();
  for (const Result& r : bench.results()) {
    cases.push_back({{"name", r.name},
                     {"median_s", r.median_s},
                     {"best_s", r.best_s},
                     {"gflops", r.work.flops / r.median_s / 1e9},
                     {"gflops_of_peak", r.flops_of_peak},
                     {"gbytes_per_s", r.work.bytes / r.median_s / 1e9},
                     {"read_of_peak", r.bytes_of_peak}});
  }
  return {{"commit", commit},
          {"cpu", peaks.cpu_model()},
          {"target", CpuTarget()},
          {"threads", num_threads},
          {"peak_gflops_median", peaks.median_flops() / 1e9},
          {"peak_gflops_best", peaks.best_flops() / 1e9},
          {"peak_read_gbytes_per_s_median", peaks.median_read_bytes() / 1e9},
          {"peak_read_gbytes_per_s_best", peaks.best_read_bytes() / 1e9},
          {"cases", cases}};
}

int Main() {
  if (const absl::Status target = ChooseCpuTarget(absl::GetFlag(FLAGS_cpu_target)); !target.ok()) {
    std::fprintf(stderr, "ops_bench: %s\n", std::string(target.message()).c_str());
    return 2;
  }
  const int flag = absl::GetFlag(FLAGS_threads);
  ThreadPool pool(flag > 0 ? flag : UsableCores());
  const std::unique_ptr<Ops> ops = MakeCpuOps(&pool);
  CpuPeaks peaks(&pool);
  peaks.Measure(10);
  const std::string commit = Commit();
  std::printf("%s, %s, %d threads, commit %s\n", peaks.cpu_model().c_str(), CpuTarget().c_str(),
              pool.num_threads(), commit.c_str());
  Bench bench(&peaks);
  for (const WeightFormat format :
       {WeightFormat::kAsStored, WeightFormat::kW7A8, WeightFormat::kW8A16, WeightFormat::kW4A8}) {
    BenchLinear(bench, ops.get(), format);
    BenchMoe(bench, ops.get(), format);
  }
  BenchAttention(bench, ops.get());
  BenchRowOps(bench, ops.get());
  std::printf("peaks: %.1f GFLOP/s (best %.1f), %.1f GB/s read (best %.1f)\n",
              peaks.median_flops() / 1e9, peaks.best_flops() / 1e9, peaks.median_read_bytes() / 1e9,
              peaks.best_read_bytes() / 1e9);
  const std::string file = absl::GetFlag(FLAGS_json);
  if (file.empty()) return 0;
  std::ofstream out(file);
  out << ToJson(bench, peaks, pool.num_threads(), commit).dump(1) << "\n";
  if (out.flush()) return 0;
  std::cerr << "cannot write " << file << "\n";
  return 1;
}

}  // namespace
}  // namespace vl2

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("ops_bench [flags]\nTimes the operations; see ops_bench.cc.");
  absl::ParseCommandLine(argc, argv);
  return vl2::Main();
}
