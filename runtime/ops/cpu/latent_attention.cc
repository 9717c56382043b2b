// Prompt positions: keys and values of each block are expanded from the latents, then attended to
// as in causal attention. Generated positions: latent_generated.cc.
#include <algorithm>

#include "runtime/ops/attention.h"
#include "runtime/ops/cpu/cpu_ops.h"
#include "runtime/ops/cpu/latent_weight.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/latent_attention.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "runtime/ops/cpu/attention_block-inl.h"
#include "runtime/ops/cpu/packed_product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {

// Keys [nope + rope][kBlockTokens] and values [num_tokens][value_stride] of one head.
HWY_INLINE void ExpandBlock(const CpuLatentWeight& weight, int64_t head, const float* latents,
                            int64_t num_tokens, int64_t value_stride, AttentionThread& scratch,
                            float* keys, float* values) {
  const LatentWeight::Dims& dims = weight.dims();
  const int64_t width = dims.kv_lora_rank + dims.qk_rope_head_dim;
  const int64_t nope_stride = RoundUpToPanel(dims.qk_nope_head_dim);
  float* packed = scratch.packed.Resize(kBlockTokens, dims.kv_lora_rank).data;
  float* expanded = scratch.expanded.Resize(kBlockTokens, nope_stride).data;
  PackQueries(latents, width, num_tokens, dims.kv_lora_rank, packed);
  MultiplyPacked(weight.head(head).key, packed, num_tokens, expanded, nope_stride);
  MultiplyPacked(weight.head(head).value, packed, num_tokens, values, value_stride);
  // Transposed; lanes after the last token repeat it and are masked later.
  const float* rows[kBlockTokens];
  for (int64_t t = 0; t < kBlockTokens; ++t) {
    rows[t] = expanded + std::min(t, num_tokens - 1) * nope_stride;
  }
  PackRows(rows, kBlockTokens, dims.qk_nope_head_dim, keys);
  for (int64_t t = 0; t < kBlockTokens; ++t) {
    rows[t] = latents + std::min(t, num_tokens - 1) * width + dims.kv_lora_rank;
  }
  PackRows(rows, kBlockTokens, dims.qk_rope_head_dim, keys + dims.qk_nope_head_dim * kBlockTokens);
}

// Rows [unit.first, unit.last) of a sequence, all prompt positions, one head.
void LatentPromptUnit(const LatentAttentionArgs& args, const AttentionUnit& unit,
                      AttentionThread& scratch) {
  const auto& weight = *static_cast<const CpuLatentWeight*>(args.weight);
  const LatentWeight::Dims& dims = weight.dims();
  const ConstHostMatrix all_q = args.q.Floats();
  const HostMatrix all_out = args.out.Floats();
  const SequenceRows& sequence = args.batch->sequences()[static_cast<size_t>(unit.sequence)];
  const int64_t value_stride = RoundUpToPanel(dims.v_head_dim);
  QueryRows q;
  q.num_rows = unit.last - unit.first;
  q.dim = dims.qk_nope_head_dim + dims.qk_rope_head_dim;
  q.scale = args.scale;
  float* packed = scratch.queries.Resize(q.num_rows, q.dim).data;
  q.packed = packed;
  q.out = scratch.output.Resize(q.num_rows, value_stride).data;
  q.out_stride = value_stride;
  q.max = scratch.statistics.Resize(2, q.num_rows).data;
  q.sum = q.max + q.num_rows;
  float* scores = scratch.scores.Resize(kMaxTileRows, kScoreStride).data;
  float* keys = scratch.keys.Resize(q.dim, kBlockTokens).data;
  float* values = scratch.values.Resize(kBlockTokens, value_stride).data;
  const int64_t width = dims.kv_lora_rank + dims.qk_rope_head_dim;
  float* widened = scratch.widened.Resize(kBlockTokens, width).data;

  const int64_t first_row = sequence.first_row + unit.first;
  PackQueries(all_q.row(first_row) + unit.head * q.dim, all_q.stride, q.num_rows, q.dim, packed);
  ClearRows(q);
  const int64_t first_position = sequence.first_position + unit.first;
  const int64_t end_position = sequence.first_position + unit.last;
  for (int64_t begin = 0; begin < end_position; begin += kBlockTokens) {
    const int64_t num_tokens = std::min(kBlockTokens, end_position - begin);
    const float* latents = ReadBlock(args.cache, sequence.block_table[begin / kBlockTokens], 0,
                                     num_tokens * width, widened);
    ExpandBlock(weight, unit.head, latents, num_tokens, value_stride, scratch, keys, values);
    AttendBlock(q, KeyBlock{keys, values, value_stride, num_tokens}, first_position + 1 - begin, 1,
                scores);
  }
  for (int64_t row = 0; row < q.num_rows; ++row) {
    DivideRow(q.out + row * value_stride, q.sum[row], dims.v_head_dim,
              all_out.row(first_row + row) + unit.head * dims.v_head_dim);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vl2 {

HWY_EXPORT(LatentPromptUnit);

std::unique_ptr<LatentWeight> CpuOps::DoPackLatent(const TensorView& kv_b,
                                                   const LatentWeight::Dims& dims) {
  return std::make_unique<CpuLatentWeight>(kv_b, dims, pool_);
}

void CpuOps::DoLatentAttention(const LatentAttentionArgs& args) {
  LatentPrompt(args);
  LatentGenerated(args);
}

void CpuOps::LatentPrompt(const LatentAttentionArgs& args) {
  const LatentWeight::Dims& dims = args.weight->dims();
  attention_.units.clear();
  int64_t most_rows = 0;
  const std::span<const SequenceRows> sequences = args.batch->sequences();
  for (size_t s = 0; s < sequences.size(); ++s) {
    const SequenceRows& sequence = sequences[s];
    const int64_t num_rows =
        std::min(sequence.num_rows, sequence.num_prompt - sequence.first_position);
    if (num_rows <= 0) continue;
    for (int64_t head = 0; head < dims.num_heads; ++head) {
      attention_.units.push_back(
          {static_cast<int32_t>(s), static_cast<int32_t>(head), 0, num_rows});
    }
    most_rows = std::max(most_rows, num_rows);
  }
  if (attention_.units.empty()) return;
  const int64_t dim = dims.qk_nope_head_dim + dims.qk_rope_head_dim;
  const int64_t nope_stride = dims.qk_nope_head_dim + 16;
  const int64_t value_stride = dims.v_head_dim + 16;
  for (AttentionThread& thread : attention_.threads) {
    thread.queries.Resize(most_rows, dim);
    thread.output.Resize(most_rows, value_stride);
    thread.statistics.Resize(2, most_rows);
    thread.scores.Resize(16, kScoreStride);
    thread.keys.Resize(dim, kBlockTokens);
    thread.values.Resize(kBlockTokens, value_stride);
    thread.packed.Resize(kBlockTokens, dims.kv_lora_rank);
    thread.expanded.Resize(kBlockTokens, nope_stride);
    thread.widened.Resize(kBlockTokens, dims.kv_lora_rank + dims.qk_rope_head_dim);
  }
  const auto run = HWY_DYNAMIC_DISPATCH(LatentPromptUnit);
  pool_->ParallelFor(static_cast<int64_t>(attention_.units.size()), [&](int64_t i, int thread) {
    run(args, attention_.units[static_cast<size_t>(i)],
        attention_.threads[static_cast<size_t>(thread)]);
  });
}

}  // namespace vl2
#endif  // HWY_ONCE
