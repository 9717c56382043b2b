#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "runtime/ops/ref/ref_ops.h"

namespace vl2 {
namespace {

// softmax(scale · q · kᵀ) · v of one query over `num_keys` keys, all in double.
// keys: row j at keys + j·head_dim; values: row j at values + j·v_dim.
void Attend(const float* q, const double* keys, const double* values, int64_t num_keys,
            int64_t head_dim, int64_t v_dim, double scale, float* out) {
  std::vector<double> p(static_cast<size_t>(num_keys));
  double max = -INFINITY;
  for (int64_t j = 0; j < num_keys; ++j) {
    double score = 0;
    for (int64_t d = 0; d < head_dim; ++d) score += q[d] * keys[j * head_dim + d];
    p[static_cast<size_t>(j)] = score * scale;
    max = std::max(max, score * scale);
  }
  double sum = 0;
  for (double& value : p) sum += value = std::exp(value - max);
  std::vector<double> result(static_cast<size_t>(v_dim), 0.0);
  for (int64_t j = 0; j < num_keys; ++j) {
    const double weight = p[static_cast<size_t>(j)] / sum;
    for (int64_t d = 0; d < v_dim; ++d) {
      result[static_cast<size_t>(d)] += weight * values[j * v_dim + d];
    }
  }
  for (int64_t d = 0; d < v_dim; ++d) out[d] = static_cast<float>(result[static_cast<size_t>(d)]);
}

// Calls visit(position, block, slot) for positions [first, last) of a sequence.
template <typename Visit>
void ForPositions(const SequenceRows& sequence, const PagedLayer& cache, int64_t first,
                  int64_t last, const Visit& visit) {
  for (int64_t position = first; position < last; ++position) {
    visit(position, CacheBlock(cache, sequence.block_table[position / kBlockTokens]),
          position % kBlockTokens);
  }
}

}  // namespace

RefLatentWeight::RefLatentWeight(const TensorView& kv_b_view, const Dims& dims)
    : LatentWeight(dims), kv_b(std::array<WeightView, 1>{WeightView(kv_b_view)}) {}

std::unique_ptr<LatentWeight> RefOps::DoPackLatent(const TensorView& kv_b,
                                                   const LatentWeight::Dims& dims) {
  return std::make_unique<RefLatentWeight>(kv_b, dims);
}

void RefOps::DoWriteKeysValues(const WriteKeysValuesArgs& args) {
  const ConstHostMatrix keys = args.keys.Floats();
  const ConstHostMatrix all_values = args.values.Floats();
  const int64_t dim = args.head_dim;
  for (const SequenceRows& sequence : args.batch->sequences()) {
    const int64_t first = sequence.first_position;
    ForPositions(sequence, args.cache, first, first + sequence.num_rows,
                 [&](int64_t position, const CacheBlock& block, int64_t slot) {
                   const int64_t row = sequence.first_row + position - first;
                   const int64_t values = args.num_kv_heads * dim * kBlockTokens;
                   for (int64_t h = 0; h < args.num_kv_heads; ++h) {
                     for (int64_t d = 0; d < dim; ++d) {
                       const int64_t i = h * dim + d;
                       block.Set(i * kBlockTokens + slot, keys.row(row)[i]);
                       block.Set(values + (h * kBlockTokens + slot) * dim + d,
                                 all_values.row(row)[i]);
                     }
                   }
                 });
  }
}

void RefOps::DoWriteLatents(const WriteLatentsArgs& args) {
  const ConstHostMatrix latents = args.latents.Floats();
  const int64_t cols = latents.cols;
  for (const SequenceRows& sequence : args.batch->sequences()) {
    const int64_t first = sequence.first_position;
    ForPositions(sequence, args.cache, first, first + sequence.num_rows,
                 [&](int64_t position, const CacheBlock& block, int64_t slot) {
                   const float* row = latents.row(sequence.first_row + position - first);
                   for (int64_t d = 0; d < cols; ++d) block.Set(slot * cols + d, row[d]);
                 });
  }
}

void RefOps::DoCausalAttention(const CausalAttentionArgs& args) {
  const ConstHostMatrix q = args.q.Floats();
  const HostMatrix out = args.out.Floats();
  const int64_t dim = args.head_dim;
  for (const SequenceRows& sequence : args.batch->sequences()) {
    const int64_t num_keys = sequence.first_position + sequence.num_rows;
    std::vector<double> keys(static_cast<size_t>(num_keys * dim));
    std::vector<double> values(static_cast<size_t>(num_keys * dim));
    for (int64_t h = 0; h < args.num_heads; ++h) {
      const int64_t kv_head = h / (args.num_heads / args.num_kv_heads);
      ForPositions(sequence, args.cache, 0, num_keys,
                   [&](int64_t position, const CacheBlock& block, int64_t slot) {
                     const int64_t v = args.num_kv_heads * dim * kBlockTokens;
                     for (int64_t d = 0; d < dim; ++d) {
                       const auto i = static_cast<size_t>(position * dim + d);
                       keys[i] = block.Get((kv_head * dim + d) * kBlockTokens + slot);
                       values[i] = block.Get(v + (kv_head * kBlockTokens + slot) * dim + d);
                     }
                   });
      for (int64_t r = 0; r < sequence.num_rows; ++r) {
        const int64_t row = sequence.first_row + r;
        Attend(q.row(row) + h * dim, keys.data(), values.data(), sequence.first_position + r + 1,
               dim, dim, args.scale, out.row(row) + h * dim);
      }
    }
  }
}

void RefOps::DoLatentAttention(const LatentAttentionArgs& args) {
  const ConstHostMatrix q = args.q.Floats();
  const HostMatrix out = args.out.Floats();
  const auto& weight = static_cast<const RefLatentWeight&>(*args.weight);
  const LatentWeight::Dims& dims = weight.dims();
  const int64_t rank = dims.kv_lora_rank;
  const int64_t nope = dims.qk_nope_head_dim;
  const int64_t rope = dims.qk_rope_head_dim;
  const int64_t v_dim = dims.v_head_dim;
  const int64_t head_dim = nope + rope;
  std::vector<double> row(static_cast<size_t>(rank));
  for (const SequenceRows& sequence : args.batch->sequences()) {
    const int64_t num_keys = sequence.first_position + sequence.num_rows;
    std::vector<double> keys(static_cast<size_t>(num_keys * head_dim));
    std::vector<double> values(static_cast<size_t>(num_keys * v_dim));
    for (int64_t h = 0; h < dims.num_heads; ++h) {
      // k = [W_UK·c, k_pe], v = W_UV·c: both forms of the header, which agree in exact arithmetic.
      for (int64_t o = 0; o < nope + v_dim; ++o) {
        weight.kv_b.Row(h * (nope + v_dim) + o, row.data());
        ForPositions(sequence, args.cache, 0, num_keys,
                     [&](int64_t position, const CacheBlock& block, int64_t slot) {
                       const int64_t latent = slot * (rank + rope);
                       double sum = 0;
                       for (int64_t i = 0; i < rank; ++i) {
                         sum += row[static_cast<size_t>(i)] * block.Get(latent + i);
                       }
                       if (o < nope) {
                         keys[static_cast<size_t>(position * head_dim + o)] = sum;
                       } else {
                         values[static_cast<size_t>(position * v_dim + o - nope)] = sum;
                       }
                     });
      }
      ForPositions(sequence, args.cache, 0, num_keys,
                   [&](int64_t position, const CacheBlock& block, int64_t slot) {
                     const int64_t k_pe = slot * (rank + rope) + rank;
                     double* to = keys.data() + position * head_dim + nope;
                     for (int64_t d = 0; d < rope; ++d) to[d] = block.Get(k_pe + d);
                   });
      for (int64_t r = 0; r < sequence.num_rows; ++r) {
        const int64_t token = sequence.first_row + r;
        Attend(q.row(token) + h * head_dim, keys.data(), values.data(),
               sequence.first_position + r + 1, head_dim, v_dim, args.scale,
               out.row(token) + h * v_dim);
      }
    }
  }
}

void RefOps::DoFullAttention(const FullAttentionArgs& args) {
  const HostMatrix out = args.out.Floats();
  const int64_t dim = args.head_dim;
  const int64_t width = args.num_heads * dim;
  const int64_t num_tokens = args.tokens_per_tile;
  std::vector<double> keys(static_cast<size_t>(num_tokens * dim));
  std::vector<double> values(static_cast<size_t>(num_tokens * dim));
  for (int64_t tile = 0; tile < args.num_tiles; ++tile) {
    const ConstHostMatrix qkv = args.qkv.Floats().Rows(tile * num_tokens, num_tokens);
    for (int64_t h = 0; h < args.num_heads; ++h) {
      for (int64_t t = 0; t < num_tokens; ++t) {
        const float* k = qkv.row(t) + width + h * dim;
        const float* v = qkv.row(t) + 2 * width + h * dim;
        std::copy(k, k + dim, keys.data() + t * dim);
        std::copy(v, v + dim, values.data() + t * dim);
      }
      for (int64_t t = 0; t < num_tokens; ++t) {
        Attend(qkv.row(t) + h * dim, keys.data(), values.data(), num_tokens, dim, dim, args.scale,
               out.row(tile * num_tokens + t) + h * dim);
      }
    }
  }
}

}  // namespace vl2
