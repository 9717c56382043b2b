#include <algorithm>

#include "runtime/ops/attention.h"
#include "runtime/ops/cpu/cpu_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/causal_attention.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "runtime/ops/cpu/attention_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {

// Keys and values of one head in block `index` of the sequence; num_tokens of them are used.
HWY_INLINE KeyBlock HeadBlock(const CausalAttentionArgs& args, const SequenceRows& sequence,
                              int64_t head, int64_t index, int64_t num_tokens, float* padded,
                              float* widened) {
  const int64_t dim = args.head_dim;
  const int64_t kv_head = head / (args.num_heads / args.num_kv_heads);
  const int32_t block = sequence.block_table[index];
  const int64_t head_values = dim * kBlockTokens;
  KeyBlock keys;
  keys.keys = ReadBlock(args.cache, block, kv_head * head_values, head_values, widened);
  keys.values = ReadBlock(args.cache, block, (args.num_kv_heads + kv_head) * head_values,
                          num_tokens * dim, widened + head_values);
  keys.value_stride = dim;
  keys.num_tokens = num_tokens;
  if (dim % kLanes != 0) {  // a panel would read beyond the block
    keys.value_stride = RoundUpToPanel(dim);
    CopyPadded(keys.values, dim, num_tokens, dim, padded, keys.value_stride);
    keys.values = padded;
  }
  return keys;
}

void CausalUnit(const CausalAttentionArgs& args, const AttentionUnit& unit,
                AttentionThread& scratch) {
  const ConstHostMatrix all_q = args.q.Floats();
  const HostMatrix all_out = args.out.Floats();
  const SequenceRows& sequence = args.batch->sequences()[static_cast<size_t>(unit.sequence)];
  const int64_t dim = args.head_dim;
  const int64_t out_stride = RoundUpToPanel(dim);
  QueryRows q;
  q.num_rows = unit.last - unit.first;
  q.dim = dim;
  q.scale = args.scale;
  float* packed = scratch.queries.Resize(q.num_rows, dim).data;
  q.packed = packed;
  q.out = scratch.output.Resize(q.num_rows, out_stride).data;
  q.out_stride = out_stride;
  q.max = scratch.statistics.Resize(2, q.num_rows).data;
  q.sum = q.max + q.num_rows;
  float* scores = scratch.scores.Resize(kMaxTileRows, kScoreStride).data;
  float* padded = scratch.values.Resize(kBlockTokens, out_stride).data;
  float* widened = scratch.widened.Resize(2 * kBlockTokens, dim).data;

  const int64_t first_row = sequence.first_row + unit.first;
  PackQueries(all_q.row(first_row) + unit.head * dim, all_q.stride, q.num_rows, dim, packed);
  ClearRows(q);
  const int64_t first_position = sequence.first_position + unit.first;
  const int64_t end_position = sequence.first_position + unit.last;
  for (int64_t begin = 0; begin < end_position; begin += kBlockTokens) {
    const int64_t num_tokens = std::min(kBlockTokens, end_position - begin);
    const KeyBlock block =
        HeadBlock(args, sequence, unit.head, begin / kBlockTokens, num_tokens, padded, widened);
    AttendBlock(q, block, first_position + 1 - begin, 1, scores);
  }
  for (int64_t row = 0; row < q.num_rows; ++row) {
    DivideRow(q.out + row * out_stride, q.sum[row], dim,
              all_out.row(first_row + row) + unit.head * dim);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vl2 {

HWY_EXPORT(CausalUnit);

void CpuOps::DoCausalAttention(const CausalAttentionArgs& args) {
  // Rows of a prompt that share one reading of the keys.
  constexpr int64_t kUnitRows = 96;
  attention_.units.clear();
  int64_t most_rows = 0;
  const std::span<const SequenceRows> sequences = args.batch->sequences();
  for (size_t s = 0; s < sequences.size(); ++s) {
    const int64_t num_rows = sequences[s].num_rows;
    for (int64_t head = 0; head < args.num_heads; ++head) {
      for (int64_t first = 0; first < num_rows; first += kUnitRows) {
        attention_.units.push_back({static_cast<int32_t>(s), static_cast<int32_t>(head), first,
                                    std::min(first + kUnitRows, num_rows)});
      }
    }
    most_rows = std::max(most_rows, std::min(kUnitRows, num_rows));
  }
  const int64_t dim = args.head_dim + 16;
  for (AttentionThread& thread : attention_.threads) {
    thread.queries.Resize(most_rows, dim);
    thread.output.Resize(most_rows, dim);
    thread.statistics.Resize(2, most_rows);
    thread.scores.Resize(16, kScoreStride);
    thread.values.Resize(kBlockTokens, dim);
    thread.widened.Resize(2 * kBlockTokens, dim);
  }
  const auto run = HWY_DYNAMIC_DISPATCH(CausalUnit);
  pool_->ParallelFor(static_cast<int64_t>(attention_.units.size()), [&](int64_t i, int thread) {
    run(args, attention_.units[static_cast<size_t>(i)],
        attention_.threads[static_cast<size_t>(thread)]);
  });
}

}  // namespace vl2
#endif  // HWY_ONCE
