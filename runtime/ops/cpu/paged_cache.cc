#include <algorithm>

#include "runtime/ops/cpu/cpu_ops.h"

namespace vl2 {
namespace {

// Rows of one sequence that fall into one block.
struct BlockRun {
  int64_t row = 0;    // first row in the batch
  int64_t count = 0;  // rows
  int64_t slot = 0;   // of the first
  int32_t block = 0;
};

// Calls body(BlockRun) for all of a sequence's rows in order.
template <typename Body>
void ForBlockRuns(const SequenceRows& sequence, const Body& body) {
  for (int64_t done = 0; done < sequence.num_rows;) {
    const int64_t position = sequence.first_position + done;
    const int64_t slot = position % kBlockTokens;
    const int64_t count = std::min(kBlockTokens - slot, sequence.num_rows - done);
    body(BlockRun{sequence.first_row + done, count, slot,
                  sequence.block_table[position / kBlockTokens]});
    done += count;
  }
}

inline void Put(float value, float* to) { *to = value; }
inline void Put(float value, BFloat16* to) { *to = ToBFloat16(value); }

// `block`: a block's values, of the layer's type.
template <typename Value>
void WriteHead(const WriteKeysValuesArgs& args, int64_t head, const BlockRun& run, Value* block) {
  const ConstHostMatrix all_keys = args.keys.Floats();
  const ConstHostMatrix all_values = args.values.Floats();
  const int64_t dim = args.head_dim;
  Value* keys = block + head * dim * kBlockTokens;
  Value* values = keys + (args.num_kv_heads * dim) * kBlockTokens;
  for (int64_t i = 0; i < dim; ++i) {
    const float* from = all_keys.row(run.row) + head * dim + i;
    Value* to = keys + i * kBlockTokens + run.slot;
    for (int64_t token = 0; token < run.count; ++token) {
      Put(from[token * all_keys.stride], to + token);
    }
  }
  for (int64_t token = 0; token < run.count; ++token) {
    const float* from = all_values.row(run.row + token) + head * dim;
    Value* to = values + (run.slot + token) * dim;
    for (int64_t i = 0; i < dim; ++i) Put(from[i], to + i);
  }
}

template <typename Value>
void WriteLatentRows(ConstHostMatrix latents, const BlockRun& run, Value* block) {
  const int64_t width = latents.cols;
  for (int64_t token = 0; token < run.count; ++token) {
    const float* from = latents.row(run.row + token);
    Value* to = block + (run.slot + token) * width;
    for (int64_t i = 0; i < width; ++i) Put(from[i], to + i);
  }
}

}  // namespace

void CpuOps::DoWriteKeysValues(const WriteKeysValuesArgs& args) {
  const auto write_heads = [&](int64_t first, int64_t last) {
    for (const SequenceRows& sequence : args.batch->sequences()) {
      ForBlockRuns(sequence, [&](const BlockRun& run) {
        const CacheBlock block(args.cache, run.block);
        for (int64_t head = first; head < last; ++head) {
          if (args.cache.dtype == DType::kF32) {
            WriteHead(args, head, run, block.floats());
          } else {
            WriteHead(args, head, run, block.bfloats());
          }
        }
      });
    }
  };
  constexpr int64_t kSmall = 32768;  // values: not worth waking threads
  if (args.keys.rows * args.keys.cols <= kSmall) return write_heads(0, args.num_kv_heads);
  pool_->ParallelFor(args.num_kv_heads, [&](int64_t head, int) { write_heads(head, head + 1); });
}

void CpuOps::DoWriteLatents(const WriteLatentsArgs& args) {
  const ConstHostMatrix latents = args.latents.Floats();
  for (const SequenceRows& sequence : args.batch->sequences()) {
    ForBlockRuns(sequence, [&](const BlockRun& run) {
      const CacheBlock block(args.cache, run.block);
      if (args.cache.dtype == DType::kF32) {
        WriteLatentRows(latents, run, block.floats());
      } else {
        WriteLatentRows(latents, run, block.bfloats());
      }
    });
  }
}

}  // namespace vl2
