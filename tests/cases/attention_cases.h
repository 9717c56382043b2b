// Cases of attention (attention.h) and of writing the paged cache (paged_cache.h).
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <ostream>
#include <vector>

#include "runtime/ops/ops.h"
#include "tests/cases/random_data.h"

namespace vl2 {

// One sequence's part of a batch.
struct SequenceCase {
  int64_t first_position = 0;
  int64_t num_rows = 1;
  int64_t num_prompt = 1;
};

struct AttentionCase {
  const char* name = "";
  int64_t num_heads = 1;
  int64_t num_kv_heads = 1;        // multi-head
  int64_t head_dim = 1;            // multi-head
  LatentWeight::Dims latent = {};  // latent
  DType dtype = DType::kBF16;      // of the latent weights
  DType cache = DType::kF32;
  std::vector<SequenceCase> sequences;

  int64_t num_rows() const {
    int64_t rows = 0;
    for (const SequenceCase& s : sequences) rows += s.num_rows;
    return rows;
  }
  friend std::ostream& operator<<(std::ostream& stream, const AttentionCase& c) {
    stream << c.name << " " << c.num_heads << "/" << c.num_kv_heads << " heads x " << c.head_dim
           << " latent " << c.latent.kv_lora_rank << "+" << c.latent.qk_rope_head_dim << " nope "
           << c.latent.qk_nope_head_dim << " v " << c.latent.v_head_dim << ":";
    for (const SequenceCase& s : c.sequences) {
      stream << " " << s.first_position << "+" << s.num_rows << "/" << s.num_prompt;
    }
    return stream << ", cache " << Name(c.cache);
  }
};

// Prompt chunks, generated rows and both at once; block edges; lengths from 1 to some hundreds.
inline std::vector<std::vector<SequenceCase>> SequenceMixes() {
  return {
      {{0, 1, 1}},
      {{0, 3, 3}},
      {{63, 1, 1}, {64, 1, 1}, {65, 1, 1}},
      {{0, 64, 64}, {0, 65, 65}, {10, 130, 140}},
      {{200, 1, 150}, {0, 37, 37}, {77, 1, 78}},
      {{100, 20, 110}, {300, 5, 10}},  // prompt and generated rows in one chunk (recomputed)
      {{640, 1, 600}},
      {{128, 13, 141}, {0, 1, 1}, {1, 1, 1}, {2, 1, 1}},
  };
}

// Each case with a float32 and a bfloat16 cache.
inline std::vector<AttentionCase> WithBothCaches(const std::vector<AttentionCase>& cases) {
  std::vector<AttentionCase> both;
  for (AttentionCase c : cases) {
    for (const DType cache : {DType::kF32, DType::kBF16}) {
      c.cache = cache;
      both.push_back(c);
    }
  }
  return both;
}

inline std::vector<AttentionCase> CausalTestCases() {
  std::vector<AttentionCase> cases;
  const auto add = [&](int64_t heads, int64_t kv_heads, int64_t dim,
                       const std::vector<SequenceCase>& sequences) {
    AttentionCase c;
    c.num_heads = heads;
    c.num_kv_heads = kv_heads;
    c.head_dim = dim;
    c.sequences = sequences;
    cases.push_back(c);
  };
  for (const auto& sequences : SequenceMixes()) {
    add(4, 4, 32, sequences);
    add(2, 1, 20, sequences);
  }
  add(10, 10, 128, SequenceMixes()[4]);
  add(6, 2, 16, SequenceMixes()[5]);
  add(1, 1, 1, SequenceMixes()[3]);
  add(3, 3, 239, SequenceMixes()[4]);
  return WithBothCaches(cases);
}

inline std::vector<AttentionCase> LatentTestCases() {
  std::vector<AttentionCase> cases;
  const auto add = [&](const LatentWeight::Dims& dims, DType dtype,
                       const std::vector<SequenceCase>& sequences) {
    AttentionCase c;
    c.num_heads = dims.num_heads;
    c.latent = dims;
    c.dtype = dtype;
    c.sequences = sequences;
    cases.push_back(c);
  };
  for (const auto& sequences : SequenceMixes()) {
    add({4, 64, 32, 16, 32}, DType::kBF16, sequences);
    add({3, 41, 17, 6, 29}, DType::kF32, sequences);
  }
  add({16, 512, 128, 64, 128}, DType::kBF16, SequenceMixes()[4]);
  add({17, 70, 15, 2, 33}, DType::kBF16, SequenceMixes()[5]);
  return WithBothCaches(cases);
}

// A cache with shuffled blocks, filled with random values at the positions in use and NaN in every
// other slot, so that a read of what nobody wrote shows.
class PagedCacheData {
 public:
  static constexpr int64_t kMaxPositions = 1 << 20;

  // Either multi-head (num_kv_heads, head_dim) or latent (width).
  PagedCacheData(const std::vector<SequenceCase>& cases, int64_t num_kv_heads, int64_t head_dim,
                 int64_t width, Ops* ops, DType dtype = DType::kF32) {
    int64_t num_blocks = 0;
    for (const SequenceCase& c : cases) num_blocks += Blocks(c);
    cache_ = ops->MakeCache({.num_layers = 1,
                             .num_kv_heads = num_kv_heads,
                             .head_dim = head_dim,
                             .latent_width = width,
                             .dtype = dtype},
                            num_blocks + 2);
    FillWithNan();
    // Blocks of all sequences in turns, backwards.
    auto next = static_cast<int32_t>(num_blocks);
    tables_.resize(cases.size());
    int64_t first_row = 0;
    for (bool any = true; any;) {
      any = false;
      for (size_t s = 0; s < cases.size(); ++s) {
        if (static_cast<int64_t>(tables_[s].size()) >= Blocks(cases[s])) continue;
        tables_[s].push_back(next--);
        any = true;
      }
    }
    for (size_t s = 0; s < cases.size(); ++s) {
      const SequenceCase& c = cases[s];
      rows_.push_back({.first_row = first_row,
                       .num_rows = c.num_rows,
                       .first_position = c.first_position,
                       .num_prompt = c.num_prompt,
                       .block_table = tables_[s].data()});
      first_row += c.num_rows;
      FillSequence(rows_.back(), s, ops);
    }
  }
  PagedCacheData(const PagedCacheData&) = delete;

  const std::vector<SequenceRows>& sequences() const { return rows_; }
  PagedLayer layer() const { return cache_->layer(0); }
  const std::vector<int32_t>& table(size_t sequence) const { return tables_[sequence]; }
  const PagedCache& cache() const { return *cache_; }
  std::unique_ptr<Batch> BatchOf(const std::vector<SequenceRows>& sequences, Ops* ops) const {
    auto batch = ops->NewBatch();
    ops->SetBatch({.sequences = sequences,
                   .ids = {},
                   .logit_rows = {},
                   .limits = {.num_blocks = cache_->num_blocks(), .max_positions = kMaxPositions}},
                  batch.get());
    return batch;
  }
  // Every slot of every block: keys (or latents), then values.
  std::vector<float> Everything(Ops* ops) const {
    std::vector<int32_t> blocks;
    std::vector<int64_t> positions;
    for (int32_t block = 0; block < cache_->num_blocks(); ++block) blocks.push_back(block);
    for (int64_t p = 0; p < cache_->num_blocks() * kBlockTokens; ++p) positions.push_back(p);
    const auto rows = static_cast<int64_t>(positions.size());
    const int64_t width = cache_->shape().key_width();
    std::vector<float> all(static_cast<size_t>(2 * rows * width), 0.0f);
    ops->ReadCache({.cache = cache_.get(),
                    .layer = 0,
                    .block_table = blocks,
                    .positions = positions,
                    .keys = HostMatrix(all.data(), rows, width),
                    .values = HostMatrix(all.data() + rows * width, rows, width)});
    return all;
  }
  // All bits set are a NaN.
  void FillWithNan() {
    const Buffer& memory = cache_->memory();
    memory.device()->Fill(memory.bytes(), std::byte{0xff}, memory.size());
  }

 private:
  static int64_t Blocks(const SequenceCase& c) {
    return (c.first_position + c.num_rows + kBlockTokens - 1) / kBlockTokens;
  }
  // Positions 0 to its last.
  void FillSequence(const SequenceRows& sequence, size_t index, Ops* ops) {
    SequenceRows whole = sequence;
    whole.first_row = 0;
    whole.num_rows += whole.first_position;
    whole.first_position = 0;
    const std::unique_ptr<Batch> batch = BatchOf({whole}, ops);
    const CacheShape& shape = cache_->shape();
    const SpacedMatrix keys(ops->device(), whole.num_rows, shape.key_width(), 0, 1.7f, 77 + index);
    const SpacedMatrix values(ops->device(), whole.num_rows, shape.key_width(), 0, 1.7f,
                              177 + index);
    if (shape.latent()) {
      ops->WriteLatents({.latents = keys.view(), .batch = batch.get(), .cache = layer()});
      return;
    }
    ops->WriteKeysValues({.keys = keys.view(),
                          .values = values.view(),
                          .num_kv_heads = shape.num_kv_heads,
                          .head_dim = shape.head_dim,
                          .batch = batch.get(),
                          .cache = layer()});
  }

  std::unique_ptr<PagedCache> cache_;
  std::vector<std::vector<int32_t>> tables_;
  std::vector<SequenceRows> rows_;
};

// The part of sequence `s` that begins `skip` rows after its first, with `count` rows, as a batch
// of its own.
inline SequenceRows PartOf(const SequenceRows& s, int64_t skip, int64_t count) {
  SequenceRows part = s;
  part.first_row = 0;
  part.num_rows = count;
  part.first_position += skip;
  return part;
}

class CausalProblem {
 public:
  CausalProblem(const AttentionCase& c, Ops* ops)
      : case_(c),
        cache_(c.sequences, c.num_kv_heads, c.head_dim, 0, ops, c.cache),
        q_(ops->device(), c.num_rows(), c.num_heads * c.head_dim, 3, 2.0f, 1),
        out_(ops->device(), c.num_rows(), c.num_heads * c.head_dim, 1) {}

  void Run(Ops* ops) { Run(ops, cache_.sequences(), 0, case_.num_rows()); }
  // Rows [skip, skip + count) of one sequence alone.
  void RunPart(Ops* ops, size_t sequence, int64_t skip, int64_t count) {
    const SequenceRows& whole = cache_.sequences()[sequence];
    const std::vector<SequenceRows> part = {PartOf(whole, skip, count)};
    Run(ops, part, whole.first_row + skip, count);
  }
  const std::vector<SequenceRows>& sequences() const { return cache_.sequences(); }
  std::span<const float> result() const { return out_.all(); }
  double flops() const {
    double keys = 0;
    for (const SequenceCase& s : case_.sequences) {
      for (int64_t r = 0; r < s.num_rows; ++r)
        keys += static_cast<double>(s.first_position + r + 1);
    }
    return 4.0 * keys * static_cast<double>(case_.num_heads * case_.head_dim);
  }
  double bytes() const {
    double tokens = 0;
    for (const SequenceCase& s : case_.sequences) {
      tokens += static_cast<double>(s.first_position + s.num_rows);
    }
    return 8.0 * tokens * static_cast<double>(case_.num_kv_heads * case_.head_dim);
  }

 private:
  void Run(Ops* ops, const std::vector<SequenceRows>& sequences, int64_t first, int64_t count) {
    const std::unique_ptr<Batch> batch = cache_.BatchOf(sequences, ops);
    ops->CausalAttention({.q = q_.view().Rows(first, count),
                          .num_heads = case_.num_heads,
                          .num_kv_heads = case_.num_kv_heads,
                          .head_dim = case_.head_dim,
                          .scale = 1.0f / std::sqrt(static_cast<float>(case_.head_dim)),
                          .batch = batch.get(),
                          .cache = cache_.layer(),
                          .out = out_.view().Rows(first, count)});
  }

  const AttentionCase case_;
  PagedCacheData cache_;
  SpacedMatrix q_;
  SpacedMatrix out_;
};

class LatentProblem {
 public:
  LatentProblem(const AttentionCase& c, Ops* ops)
      : case_(c),
        cache_(c.sequences, 0, 0, c.latent.kv_lora_rank + c.latent.qk_rope_head_dim, ops, c.cache),
        q_(ops->device(), c.num_rows(), c.num_heads * head_dim(), 3, 2.0f, 1),
        out_(ops->device(), c.num_rows(), c.num_heads * c.latent.v_head_dim, 1) {
    const LatentWeight::Dims& dims = c.latent;
    const int64_t rows = dims.num_heads * (dims.qk_nope_head_dim + dims.v_head_dim);
    weight_ =
        ops->PackLatent(RandomTensor(c.dtype, {rows, dims.kv_lora_rank},
                                     1.7f / std::sqrt(static_cast<float>(dims.kv_lora_rank)), 2)
                            .view(),
                        dims);
  }

  void Run(Ops* ops) { Run(ops, cache_.sequences(), 0, case_.num_rows()); }
  void RunPart(Ops* ops, size_t sequence, int64_t skip, int64_t count) {
    const SequenceRows& whole = cache_.sequences()[sequence];
    const std::vector<SequenceRows> part = {PartOf(whole, skip, count)};
    Run(ops, part, whole.first_row + skip, count);
  }
  const std::vector<SequenceRows>& sequences() const { return cache_.sequences(); }
  std::span<const float> result() const { return out_.all(); }
  // Of the form each row takes.
  double flops() const {
    const LatentWeight::Dims& d = case_.latent;
    double total = 0;
    for (const SequenceCase& s : case_.sequences) {
      const int64_t end = s.first_position + s.num_rows;
      if (s.first_position < s.num_prompt) {
        total += static_cast<double>(std::min(end, s.num_prompt) * d.kv_lora_rank *
                                     (d.qk_nope_head_dim + d.v_head_dim));
      }
      for (int64_t p = s.first_position; p < end; ++p) {
        const int64_t wide = p < s.num_prompt
                                 ? d.qk_nope_head_dim + d.qk_rope_head_dim + d.v_head_dim
                                 : 2 * d.kv_lora_rank + d.qk_rope_head_dim;
        total += static_cast<double>((p + 1) * wide);
        if (p >= s.num_prompt) {
          total += static_cast<double>(d.kv_lora_rank * (d.qk_nope_head_dim + d.v_head_dim));
        }
      }
    }
    return 2.0 * total * static_cast<double>(d.num_heads);
  }
  double bytes() const {
    double tokens = 0;
    for (const SequenceCase& s : case_.sequences) {
      tokens += static_cast<double>(s.first_position + s.num_rows);
    }
    const LatentWeight::Dims& d = case_.latent;
    return 4.0 * tokens * static_cast<double>(d.kv_lora_rank + d.qk_rope_head_dim) +
           2.0 * static_cast<double>(d.num_heads * d.kv_lora_rank *
                                     (d.qk_nope_head_dim + d.v_head_dim));
  }

 private:
  int64_t head_dim() const { return case_.latent.qk_nope_head_dim + case_.latent.qk_rope_head_dim; }
  void Run(Ops* ops, const std::vector<SequenceRows>& sequences, int64_t first, int64_t count) {
    const std::unique_ptr<Batch> batch = cache_.BatchOf(sequences, ops);
    ops->LatentAttention({.q = q_.view().Rows(first, count),
                          .weight = weight_.get(),
                          .scale = 1.0f / std::sqrt(static_cast<float>(head_dim())),
                          .batch = batch.get(),
                          .cache = cache_.layer(),
                          .out = out_.view().Rows(first, count)});
  }

  const AttentionCase case_;
  PagedCacheData cache_;
  SpacedMatrix q_;
  SpacedMatrix out_;
  std::unique_ptr<LatentWeight> weight_;
};

struct FullAttentionCase {
  int64_t num_tiles = 1;
  int64_t tokens = 1;
  int64_t num_heads = 1;
  int64_t head_dim = 1;

  friend std::ostream& operator<<(std::ostream& stream, const FullAttentionCase& c) {
    return stream << c.num_tiles << " tiles x " << c.tokens << " tokens, " << c.num_heads
                  << " heads x " << c.head_dim;
  }
};

inline std::vector<FullAttentionCase> FullAttentionTestCases() {
  return {{0, 5, 1, 4},  {1, 1, 1, 1},    {2, 3, 2, 5},    {1, 64, 4, 16},
          {2, 65, 3, 7}, {3, 130, 2, 72}, {1, 729, 4, 16}, {1, 200, 3, 80}};
}

class FullAttentionProblem {
 public:
  FullAttentionProblem(const FullAttentionCase& c, Ops* ops)
      : case_(c),
        qkv_(ops->device(), c.num_tiles * c.tokens, 3 * c.num_heads * c.head_dim, 3, 1.7f, 1),
        out_(ops->device(), c.num_tiles * c.tokens, c.num_heads * c.head_dim, 1) {}

  void Run(Ops* ops, int64_t first_tile, int64_t num_tiles) {
    const int64_t first = first_tile * case_.tokens;
    const int64_t rows = num_tiles * case_.tokens;
    ops->FullAttention({.qkv = qkv_.view().Rows(first, rows),
                        .num_tiles = num_tiles,
                        .tokens_per_tile = case_.tokens,
                        .num_heads = case_.num_heads,
                        .head_dim = case_.head_dim,
                        .scale = 1.0f / std::sqrt(static_cast<float>(case_.head_dim)),
                        .out = out_.view().Rows(first, rows)});
  }
  std::span<const float> result() const { return out_.all(); }
  double flops() const {
    return 4.0 * static_cast<double>(case_.num_tiles * case_.tokens * case_.tokens *
                                     case_.num_heads * case_.head_dim);
  }
  double bytes() const {
    return 16.0 *
           static_cast<double>(case_.num_tiles * case_.tokens * case_.num_heads * case_.head_dim);
  }

 private:
  const FullAttentionCase case_;
  SpacedMatrix qkv_;
  SpacedMatrix out_;
};

}  // namespace vl2
