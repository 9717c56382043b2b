#include "tools/golden_check/golden_tap.h"

#include <algorithm>

#include "runtime/base/status.h"

namespace vl2 {

void VisionTap::OnMatrix(std::string_view name, ConstHostMatrix matrix) {
  const auto wanted = rows.find(name);
  if (wanted == rows.end()) return;
  std::vector<float>& kept = values[std::string(name)];
  kept.clear();
  for (const int64_t row : wanted->second) {
    VL2_CHECK(row < matrix.rows) << name << " row " << row << " of " << matrix.rows;
    kept.insert(kept.end(), matrix.row(row), matrix.row(row) + matrix.cols);
  }
}

void LanguageTap::BeginStep(const SequenceRows* rows, std::span<const int64_t> watched_logits) {
  rows_ = rows;
  watched_logits_.assign(watched_logits.begin(), watched_logits.end());
}

template <typename Visit>
void LanguageTap::ForWatched(const Visit& visit) const {
  // Generated positions are not watched: the golden rows are the prompt's.
  if (rows_ == nullptr || rows_->first_position >= rows_->num_prompt) return;
  for (size_t w = 0; w < watched_.size(); ++w) {
    const int64_t row = watched_[w] - rows_->first_position;
    if (row >= 0 && row < rows_->num_rows) visit(w, rows_->first_row + row);
  }
}

void LanguageTap::OnMatrix(std::string_view name, ConstHostMatrix matrix) {
  std::vector<float>& kept = values[std::string(name)];
  const auto cols = static_cast<size_t>(matrix.cols);
  kept.resize(watched_.size() * cols, 0.0f);
  if (name == "hidden.final_norm") {
    // Rows are those whose logits were asked for; sequence 0's watched ones come first.
    for (size_t i = 0; i < watched_logits_.size(); ++i) {
      std::copy_n(matrix.row(static_cast<int64_t>(i)), cols,
                  kept.begin() + watched_logits_[i] * matrix.cols);
    }
    return;
  }
  ForWatched([&](size_t w, int64_t row) {
    std::copy_n(matrix.row(row), cols, kept.begin() + static_cast<int64_t>(w * cols));
  });
}

void LanguageTap::OnExperts(int64_t layer, MatrixView<const int32_t> ids, ConstHostMatrix weights) {
  const auto k = static_cast<size_t>(ids.cols);
  std::vector<int64_t>& kept_ids = experts[Cat("router.layer", layer, ".expert_ids")];
  std::vector<float>& kept_weights = values[Cat("router.layer", layer, ".weights")];
  kept_ids.resize(watched_.size() * k, -1);
  kept_weights.resize(watched_.size() * k, 0.0f);
  ForWatched([&](size_t w, int64_t row) {
    std::copy_n(ids.row(row), k, kept_ids.begin() + static_cast<int64_t>(w * k));
    std::copy_n(weights.row(row), k, kept_weights.begin() + static_cast<int64_t>(w * k));
  });
}

std::map<std::string, std::vector<float>> ReadCacheRows(const LanguageConfig& config, Ops& ops,
                                                        const PagedCache& cache, int64_t layer,
                                                        std::span<const int32_t> block_table,
                                                        std::span<const int64_t> positions) {
  const auto num_rows = static_cast<int64_t>(positions.size());
  const int64_t width = cache.shape().key_width();
  GrowingHostMatrix keys_memory;
  GrowingHostMatrix values_memory;
  const HostMatrix keys = keys_memory.Resize(num_rows, width);
  const HostMatrix values = values_memory.Resize(num_rows, width);
  ops.ReadCache({.cache = &cache,
                 .layer = layer,
                 .block_table = block_table,
                 .positions = positions,
                 .keys = keys,
                 .values = values});
  std::map<std::string, std::vector<float>> rows;
  const auto add = [&](const char* name, const HostMatrix& part) {
    std::vector<float>& all = rows[name];
    for (int64_t r = 0; r < part.rows; ++r) {
      all.insert(all.end(), part.row(r), part.row(r) + part.cols);
    }
  };
  if (config.use_mla) {
    add("kv_latent", keys.Cols(0, config.kv_lora_rank));
    add("k_pe", keys.Cols(config.kv_lora_rank, config.qk_rope_head_dim));
  } else {
    add("key", keys);
    add("value", values);
  }
  return rows;
}

}  // namespace vl2
