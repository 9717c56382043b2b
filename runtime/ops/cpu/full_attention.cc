#include <algorithm>

#include "runtime/ops/attention.h"
#include "runtime/ops/cpu/cpu_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/full_attention.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "runtime/ops/cpu/attention_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {

// Rows [unit.first, unit.last) of tile unit.sequence, one head. Keys and values of the head are
// brought into the layout of the cache's blocks first; a unit's rows share that.
void FullUnit(const FullAttentionArgs& args, const AttentionUnit& unit, AttentionThread& scratch) {
  const ConstHostMatrix qkv = args.qkv.Floats();
  const HostMatrix all_out = args.out.Floats();
  const int64_t dim = args.head_dim;
  const int64_t width = args.num_heads * dim;
  const int64_t num_tokens = args.tokens_per_tile;
  const int64_t num_blocks = (num_tokens + kBlockTokens - 1) / kBlockTokens;
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
  float* keys = scratch.keys.Resize(dim, kBlockTokens).data;
  float* values = scratch.values.Resize(kBlockTokens, out_stride).data;

  const int64_t first_token = unit.sequence * num_tokens;
  const float* head_q = qkv.row(first_token) + unit.head * dim;
  PackQueries(head_q + unit.first * qkv.stride, qkv.stride, q.num_rows, dim, packed);
  ClearRows(q);
  for (int64_t index = 0; index < num_blocks; ++index) {
    const int64_t begin = index * kBlockTokens;
    const int64_t count = std::min(kBlockTokens, num_tokens - begin);
    const float* from = head_q + begin * qkv.stride;
    const float* rows[kBlockTokens];
    for (int64_t t = 0; t < kBlockTokens; ++t) {
      rows[t] = from + width + std::min(t, count - 1) * qkv.stride;
    }
    PackRows(rows, kBlockTokens, dim, keys);
    CopyPadded(from + 2 * width, qkv.stride, count, dim, values, out_stride);
    AttendBlock(q, KeyBlock{keys, values, out_stride, count}, count, 0, scores);
  }
  for (int64_t row = 0; row < q.num_rows; ++row) {
    DivideRow(q.out + row * out_stride, q.sum[row], dim,
              all_out.row(first_token + unit.first + row) + unit.head * dim);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vl2 {

HWY_EXPORT(FullUnit);

void CpuOps::DoFullAttention(const FullAttentionArgs& args) {
  const int64_t num_tokens = args.tokens_per_tile;
  // A head of a tile is one unit, or several where there are threads to spare: each part brings
  // keys and values into place for itself.
  const int64_t wanted =
      4 * pool_->num_threads() / std::max<int64_t>(1, args.num_tiles * args.num_heads);
  constexpr int64_t kMinRows = 96;
  const int64_t most_parts = std::max<int64_t>(1, num_tokens / kMinRows);
  const int64_t parts = std::clamp<int64_t>(wanted, 1, most_parts);
  attention_.units.clear();
  for (int64_t tile = 0; tile < args.num_tiles; ++tile) {
    for (int64_t head = 0; head < args.num_heads; ++head) {
      for (int64_t part = 0; part < parts; ++part) {
        attention_.units.push_back({static_cast<int32_t>(tile), static_cast<int32_t>(head),
                                    num_tokens * part / parts, num_tokens * (part + 1) / parts});
      }
    }
  }
  const int64_t rows = num_tokens / parts + 1;
  const int64_t dim = args.head_dim + 16;
  for (AttentionThread& thread : attention_.threads) {
    thread.queries.Resize(rows, dim);
    thread.output.Resize(rows, dim);
    thread.statistics.Resize(2, rows);
    thread.scores.Resize(16, kScoreStride);
    thread.keys.Resize(dim, kBlockTokens);
    thread.values.Resize(kBlockTokens, dim);
  }
  const auto run = HWY_DYNAMIC_DISPATCH(FullUnit);
  pool_->ParallelFor(static_cast<int64_t>(attention_.units.size()), [&](int64_t i, int thread) {
    run(args, attention_.units[static_cast<size_t>(i)],
        attention_.threads[static_cast<size_t>(thread)]);
  });
}

}  // namespace vl2
#endif  // HWY_ONCE
