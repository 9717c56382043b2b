#include "tools/golden_check/golden_tap.h"

#include <algorithm>

#include "runtime/base/status.h"

namespace vl2 {

void VisionTap::OnMatrix(std::string_view name, ConstMatrix matrix) {
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

void LanguageTap::OnMatrix(std::string_view name, ConstMatrix matrix) {
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

void LanguageTap::OnExperts(int64_t layer, const int32_t* ids, const float* weights,
                            int64_t /*tokens*/, int top_k) {
  const auto k = static_cast<size_t>(top_k);
  std::vector<int64_t>& kept_ids = experts[Cat("router.layer", layer, ".expert_ids")];
  std::vector<float>& kept_weights = values[Cat("router.layer", layer, ".weights")];
  kept_ids.resize(watched_.size() * k, -1);
  kept_weights.resize(watched_.size() * k, 0.0f);
  ForWatched([&](size_t w, int64_t row) {
    std::copy_n(ids + row * top_k, k, kept_ids.begin() + static_cast<int64_t>(w * k));
    std::copy_n(weights + row * top_k, k, kept_weights.begin() + static_cast<int64_t>(w * k));
  });
}

std::map<std::string, std::vector<float>> ReadCacheRows(const LanguageConfig& config,
                                                        const PagedLayer& layer,
                                                        std::span<const int32_t> block_table,
                                                        std::span<const int64_t> positions) {
  std::map<std::string, std::vector<float>> rows;
  for (const int64_t position : positions) {
    const float* block = layer.block(block_table[static_cast<size_t>(position / kBlockTokens)]);
    const int64_t slot = position % kBlockTokens;
    if (config.use_mla) {
      const float* row = block + slot * (config.kv_lora_rank + config.qk_rope_head_dim);
      auto& latent = rows["kv_latent"];
      latent.insert(latent.end(), row, row + config.kv_lora_rank);
      auto& k_pe = rows["k_pe"];
      row += config.kv_lora_rank;
      k_pe.insert(k_pe.end(), row, row + config.qk_rope_head_dim);
      continue;
    }
    const int64_t dim = config.qk_head_dim();
    const float* values = block + config.num_key_value_heads * dim * kBlockTokens;
    for (int64_t h = 0; h < config.num_key_value_heads; ++h) {
      for (int64_t d = 0; d < dim; ++d) {
        rows["key"].push_back(block[(h * dim + d) * kBlockTokens + slot]);
        rows["value"].push_back(values[(h * kBlockTokens + slot) * dim + d]);
      }
    }
  }
  return rows;
}

}  // namespace vl2
