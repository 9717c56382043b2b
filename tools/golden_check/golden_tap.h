// GoldenTap: collects the rows of inner values that the golden data lists.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/checkpoint/config.h"
#include "runtime/nn/tap.h"
#include "runtime/ops/ops.h"

namespace vl2 {

// Keeps chosen rows of every matrix of the vision encoder, by name.
class VisionTap : public Tap {
 public:
  // Rows wanted of each matrix; a name that is not listed is not kept.
  std::map<std::string, std::vector<int64_t>, std::less<>> rows;
  std::map<std::string, std::vector<float>, std::less<>> values;

  void OnMatrix(std::string_view name, ConstHostMatrix matrix) override;
  void OnExperts(int64_t, MatrixView<const int32_t>, ConstHostMatrix) override {}
};

// Keeps the rows of sequence 0's watched positions over all steps: values[name] is
// [watched, cols] once the prompt has run.
class LanguageTap : public Tap {
 public:
  explicit LanguageTap(std::span<const int64_t> watched) : watched_(watched) {}

  // Called before each step with sequence 0's rows (null: not in this step) and the watched
  // positions whose logits the step gives.
  void BeginStep(const SequenceRows* rows, std::span<const int64_t> watched_logits);

  void OnMatrix(std::string_view name, ConstHostMatrix matrix) override;
  void OnExperts(int64_t layer, MatrixView<const int32_t> ids, ConstHostMatrix weights) override;

  std::map<std::string, std::vector<float>, std::less<>> values;
  std::map<std::string, std::vector<int64_t>, std::less<>> experts;

 private:
  // Calls visit(index into watched, row of the step) for watched positions in this step.
  template <typename Visit>
  void ForWatched(const Visit& visit) const;

  const std::span<const int64_t> watched_;
  const SequenceRows* rows_ = nullptr;
  std::vector<int64_t> watched_logits_;
};

// Rows of the cache at `positions`: "key" and "value" [positions, kv_heads · head_dim], or
// "kv_latent" [positions, rank] and "k_pe" [positions, rope].
std::map<std::string, std::vector<float>> ReadCacheRows(const LanguageConfig& config, Ops& ops,
                                                        const PagedCache& cache, int64_t layer,
                                                        std::span<const int32_t> block_table,
                                                        std::span<const int64_t> positions);

}  // namespace vl2
