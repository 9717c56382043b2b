// Generated positions attend in the latent space, three parallel loops over all such rows:
//   1  per head:            q_c = W_UKᵀ · q_nope
//   2  per row (or blocks): scores, softmax and Σ p·c of all heads at once, lanes = heads for the
//                           scores and lanes = rank for the sum, so a block is read once
//   3  per head:            out = W_UV · Σ p·c
// With few rows and many threads, step 2 spreads a row's blocks over threads; their shares are kept
// apart and merged in order in step 3, by the same arithmetic.
#include <algorithm>

#include "runtime/ops/attention.h"
#include "runtime/ops/cpu/cpu_ops.h"
#include "runtime/ops/cpu/latent_rows.h"
#include "runtime/ops/cpu/latent_weight.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/latent_generated.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "runtime/ops/cpu/attention_block-inl.h"
#include "runtime/ops/cpu/packed_product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {

void AbsorbHead(const LatentBatch& batch, int64_t head, AttentionThread& scratch) {
  const LatentAttentionArgs& args = *batch.args;
  const auto& weight = *static_cast<const CpuLatentWeight*>(args.weight);
  const LatentWeight::Dims& dims = weight.dims();
  const int64_t nope = dims.qk_nope_head_dim;
  const int64_t head_dim = nope + dims.qk_rope_head_dim;
  const ConstHostMatrix q = args.q.Floats();
  const auto num_rows = static_cast<int64_t>(batch.rows.size());
  for (int64_t begin = 0; begin < num_rows; begin += kMaxTileRows) {
    const int64_t rows = std::min<int64_t>(kMaxTileRows, num_rows - begin);
    float* packed = scratch.packed.Resize(kMaxTileRows, nope).data;
    const float* pointers[kMaxTileRows];
    for (int64_t r = 0; r < rows; ++r) {
      pointers[r] = q.row(batch.rows[static_cast<size_t>(begin + r)].row) + head * head_dim;
    }
    PackRows(pointers, rows, nope, packed);
    MultiplyPacked(weight.head(head).key_absorb, packed, rows, batch.Absorbed(begin, head),
                   batch.query_stride * dims.num_heads);
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(pointers[r] + nope, dims.qk_rope_head_dim,
                  batch.Absorbed(begin + r, head) + dims.kv_lora_rank);
    }
  }
}

// scores [num_tokens][heads] become probabilities against the block's maximum, a lane per head.
HWY_INLINE void SoftmaxColumns(float* scores, int64_t num_tokens, int64_t heads, float scale,
                               float* block_max, float* block_sum) {
  const DF d;
  const VF scales = hn::Set(d, scale);
  for (int64_t head = 0; head < heads; head += static_cast<int64_t>(kVectorLanes)) {
    VF most = hn::Set(d, kNoMaximum);
    for (int64_t token = 0; token < num_tokens; ++token) {
      const float* at = scores + token * heads + head;
      most = hn::Max(most, hn::LoadU(d, at));
    }
    most = hn::Mul(most, scales);
    VF sum = hn::Zero(d);
    for (int64_t token = 0; token < num_tokens; ++token) {
      float* at = scores + token * heads + head;
      const VF p = ExpNearZero(d, hn::MulSub(hn::LoadU(d, at), scales, most));
      hn::StoreU(p, d, at);
      sum = hn::Add(sum, p);
    }
    hn::StoreU(most, d, block_max + head);
    hn::StoreU(sum, d, block_sum + head);
  }
}

// Blocks [unit.first, unit.last) of row unit.sequence, all heads.
void LatentBlocks(const LatentBatch& batch, const AttentionUnit& unit, AttentionThread& scratch) {
  const LatentAttentionArgs& args = *batch.args;
  const LatentWeight::Dims& dims = args.weight->dims();
  const LatentRow& row = batch.rows[static_cast<size_t>(unit.sequence)];
  const SequenceRows& sequence = args.batch->sequences()[static_cast<size_t>(row.sequence)];
  const int64_t num_heads = dims.num_heads;
  const int64_t heads = RoundUpToPanel(num_heads);
  const int64_t width = dims.kv_lora_rank + dims.qk_rope_head_dim;
  const int64_t out_stride = batch.out_stride;

  // [width][heads]; lanes after the last head repeat it.
  float* queries = scratch.queries.Resize(width, heads).data;
  float* widened = scratch.widened.Resize(kBlockTokens, width).data;
  const float* pointers[LatentBatch::kMaxHeads];
  for (int64_t h = 0; h < heads; ++h) {
    pointers[h] = batch.Absorbed(unit.sequence, std::min(h, num_heads - 1));
  }
  PackRows(pointers, heads, width, queries);

  float* scores = scratch.scores.Resize(kBlockTokens, heads).data;
  float* factors = scratch.statistics.Resize(6, heads).data;
  float* max = factors;
  float* sum = factors + heads;
  float* block_max = factors + 2 * heads;
  float* block_sum = factors + 3 * heads;
  float* keep = factors + 4 * heads;
  float* add = factors + 5 * heads;
  float* out = scratch.output.Resize(num_heads, out_stride).data;
  std::fill_n(max, heads, kNoMaximum);
  std::fill_n(sum, heads, 0.0f);
  std::fill_n(out, num_heads * out_stride, 0.0f);

  const int64_t num_tiles = NumTiles(num_heads, kMaxTileRows);
  const int64_t widest = (num_heads + num_tiles - 1) / num_tiles;
  const auto step = static_cast<int64_t>(MaxTilePanels(static_cast<size_t>(widest)));
  for (int64_t index = unit.first; index < unit.last; ++index) {
    const int64_t num_tokens = std::min(kBlockTokens, row.position + 1 - index * kBlockTokens);
    const float* latents =
        ReadBlock(args.cache, sequence.block_table[index], 0, num_tokens * width, widened);
    for (int64_t token = 0; token < num_tokens; token += kTokenTile) {
      const int64_t rows = std::min(kTokenTile, num_tokens - token);
      TileRows<kTokenTile>(rows, StridedRows{latents + token * width, width},
                           F32Panels{queries, kLanes, heads}, width, heads / kLanes,
                           StoreSums{scores + token * heads, heads, true});
    }
    if (batch.split) {
      block_max = batch.PartialStatistics(row, index);
      block_sum = block_max + heads;
    }
    SoftmaxColumns(scores, num_tokens, heads, args.scale, block_max, block_sum);
    if (!batch.split) MergeStatistics(max, sum, block_max, block_sum, heads, keep, add);
    int64_t value_stride = width;
    const float* values = latents;
    if (dims.kv_lora_rank % kLanes != 0) {  // a panel would read beyond the block
      value_stride = out_stride;
      float* padded = scratch.values.Resize(kBlockTokens, out_stride).data;
      CopyPadded(latents, width, num_tokens, dims.kv_lora_rank, padded, out_stride);
      values = padded;
    }
    const F32Panels panels{values, kLanes, value_stride};
    for (int64_t panel = 0; panel < out_stride / kLanes; panel += step) {
      const int64_t num_panels = std::min(step, out_stride / kLanes - panel);
      for (int64_t tile = 0; tile < num_tiles; ++tile) {
        const int64_t begin = TileRow(num_heads, num_tiles, tile);
        const int64_t rows = TileRow(num_heads, num_tiles, tile + 1) - begin;
        const StridedColumns p{scores + begin, heads};
        const int64_t at = begin * out_stride + panel * kLanes;
        if (batch.split) {
          TileRows(rows, p, panels.At(panel, 0), num_tokens, num_panels,
                   StoreSums{batch.PartialOut(row, index, 0) + at, out_stride, true});
        } else {
          TileRows(rows, p, panels.At(panel, 0), num_tokens, num_panels,
                   MergeSums{out + at, out_stride, keep + begin, add + begin});
        }
      }
    }
  }
  if (batch.split) return;
  for (int64_t h = 0; h < num_heads; ++h) {
    DivideRow(out + h * out_stride, sum[h], dims.kv_lora_rank, batch.LatentOut(unit.sequence, h));
  }
}

// The blocks' shares of one row and head, merged in order, into `out` (divided by the sum).
HWY_INLINE void MergePartials(const LatentBatch& batch, const LatentRow& row, int64_t head,
                              float* running, float* out) {
  const DF d;
  const LatentWeight::Dims& dims = batch.args->weight->dims();
  const int64_t heads = RoundUpToPanel(dims.num_heads);
  float max = kNoMaximum;
  float sum = 0;
  std::fill_n(running, batch.out_stride, 0.0f);
  for (int64_t index = 0; index <= row.position / kBlockTokens; ++index) {
    const float* statistics = batch.PartialStatistics(row, index);
    float keep, add;
    MergeStatistics(&max, &sum, statistics + head, statistics + heads + head, 1, &keep, &add);
    const float* from = batch.PartialOut(row, index, head);
    for (int64_t i = 0; i < batch.out_stride; i += static_cast<int64_t>(kVectorLanes)) {
      const VF kept = hn::Mul(hn::LoadU(d, running + i), hn::Set(d, keep));
      hn::StoreU(hn::MulAdd(hn::LoadU(d, from + i), hn::Set(d, add), kept), d, running + i);
    }
  }
  DivideRow(running, sum, dims.kv_lora_rank, out);
}

void LatentHeadOut(const LatentBatch& batch, int64_t head, AttentionThread& scratch) {
  const LatentAttentionArgs& args = *batch.args;
  const auto& weight = *static_cast<const CpuLatentWeight*>(args.weight);
  const LatentWeight::Dims& dims = weight.dims();
  const auto num_rows = static_cast<int64_t>(batch.rows.size());
  const int64_t value_stride = RoundUpToPanel(dims.v_head_dim);
  float* packed = scratch.packed.Resize(kMaxTileRows, dims.kv_lora_rank).data;
  float* out = scratch.output.Resize(kMaxTileRows, value_stride).data;
  const HostMatrix all_out = args.out.Floats();
  for (int64_t begin = 0; begin < num_rows; begin += kMaxTileRows) {
    const int64_t rows = std::min<int64_t>(kMaxTileRows, num_rows - begin);
    const float* pointers[kMaxTileRows];
    for (int64_t r = 0; r < rows; ++r) {
      if (batch.split) {
        MergePartials(batch, batch.rows[static_cast<size_t>(begin + r)], head,
                      scratch.values.Resize(1, batch.out_stride).data,
                      batch.LatentOut(begin + r, head));
      }
      pointers[r] = batch.LatentOut(begin + r, head);
    }
    PackRows(pointers, rows, dims.kv_lora_rank, packed);
    MultiplyPacked(weight.head(head).value, packed, rows, out, value_stride);
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(
          out + r * value_stride, dims.v_head_dim,
          all_out.row(batch.rows[static_cast<size_t>(begin + r)].row) + head * dims.v_head_dim);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vl2 {

HWY_EXPORT(AbsorbHead);
HWY_EXPORT(LatentBlocks);
HWY_EXPORT(LatentHeadOut);

namespace {

int64_t RoundUp16(int64_t count) { return (count + 15) / 16 * 16; }

// The batch's generated rows, and how many blocks they read in all.
int64_t CollectRows(const LatentAttentionArgs& args, std::vector<LatentRow>* rows) {
  rows->clear();
  int64_t num_blocks = 0;
  const std::span<const SequenceRows> sequences = args.batch->sequences();
  for (size_t s = 0; s < sequences.size(); ++s) {
    const SequenceRows& sequence = sequences[s];
    const int64_t first = std::max<int64_t>(0, sequence.num_prompt - sequence.first_position);
    for (int64_t r = first; r < sequence.num_rows; ++r) {
      const int64_t position = sequence.first_position + r;
      rows->push_back({static_cast<int32_t>(sequence.first_row + r), static_cast<int32_t>(s),
                       position, num_blocks});
      num_blocks += position / kBlockTokens + 1;
    }
  }
  return num_blocks;
}

}  // namespace

void CpuOps::LatentGenerated(const LatentAttentionArgs& args) {
  const LatentWeight::Dims& dims = args.weight->dims();
  VL2_CHECK(dims.num_heads <= LatentBatch::kMaxHeads) << dims.num_heads << " heads";
  LatentBatch& batch = attention_.latent;
  batch.args = &args;
  const int64_t num_blocks = CollectRows(args, &batch.rows);
  if (batch.rows.empty()) return;
  const auto num_rows = static_cast<int64_t>(batch.rows.size());
  const int64_t width = dims.kv_lora_rank + dims.qk_rope_head_dim;
  const int64_t heads = RoundUp16(dims.num_heads);
  batch.query_stride = std::max(width, RoundUp16(dims.kv_lora_rank));
  batch.out_stride = RoundUp16(dims.kv_lora_rank);
  // Rows alone keep the threads busy, or their blocks do.
  batch.split =
      pool_->num_threads() > 1 && num_rows < 2 * pool_->num_threads() && num_blocks > num_rows;
  batch.absorbed = attention_.absorbed.Resize(num_rows, dims.num_heads * batch.query_stride);
  batch.latent_out = attention_.latent_out.Resize(num_rows, dims.num_heads * batch.out_stride);
  batch.partial_out = attention_.partial_out.Resize(batch.split ? num_blocks : 0,
                                                    dims.num_heads * batch.out_stride);
  batch.partial_statistics =
      attention_.partial_statistics.Resize(batch.split ? num_blocks : 0, 2 * heads);
  attention_.units.clear();
  const int64_t unit_blocks = std::max<int64_t>(1, num_blocks / (4 * pool_->num_threads()));
  for (int64_t i = 0; i < num_rows; ++i) {
    const int64_t blocks = batch.rows[static_cast<size_t>(i)].position / kBlockTokens + 1;
    const int64_t step = batch.split ? unit_blocks : blocks;
    for (int64_t first = 0; first < blocks; first += step) {
      attention_.units.push_back(
          {static_cast<int32_t>(i), 0, first, std::min(first + step, blocks)});
    }
  }
  for (AttentionThread& thread : attention_.threads) {
    thread.packed.Resize(16, std::max(dims.qk_nope_head_dim, dims.kv_lora_rank));
    thread.queries.Resize(width, heads);
    thread.scores.Resize(kBlockTokens, heads);
    thread.statistics.Resize(6, heads);
    thread.output.Resize(std::max<int64_t>(16, heads),
                         std::max(batch.out_stride, dims.v_head_dim + 16));
    thread.values.Resize(kBlockTokens, batch.out_stride);
    thread.widened.Resize(kBlockTokens, width);
  }

  const auto absorb = HWY_DYNAMIC_DISPATCH(AbsorbHead);
  pool_->ParallelFor(dims.num_heads, [&](int64_t head, int thread) {
    absorb(batch, head, attention_.threads[static_cast<size_t>(thread)]);
  });
  const auto blocks = HWY_DYNAMIC_DISPATCH(LatentBlocks);
  pool_->ParallelFor(static_cast<int64_t>(attention_.units.size()), [&](int64_t i, int thread) {
    blocks(batch, attention_.units[static_cast<size_t>(i)],
           attention_.threads[static_cast<size_t>(thread)]);
  });
  const auto head_out = HWY_DYNAMIC_DISPATCH(LatentHeadOut);
  pool_->ParallelFor(dims.num_heads, [&](int64_t head, int thread) {
    head_out(batch, head, attention_.threads[static_cast<size_t>(thread)]);
  });
}

}  // namespace vl2
#endif  // HWY_ONCE
