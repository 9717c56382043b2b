#include "runtime/ops/batch.h"

#include "runtime/base/check.h"
#include "runtime/ops/paged_cache.h"

namespace vl2 {
namespace {

int64_t TableBlocks(const SequenceRows& sequence) {
  return (sequence.first_position + sequence.num_rows + kBlockTokens - 1) / kBlockTokens;
}

}  // namespace

void Batch::Set(const BatchRows& rows) {
  limits_ = rows.limits;
  sequences_.assign(rows.sequences.begin(), rows.sequences.end());
  block_tables_.clear();
  positions_.clear();
  for (const SequenceRows& sequence : sequences_) {
    VL2_CHECK(sequence.first_row == num_rows() && sequence.num_rows >= 1 &&
              sequence.first_position >= 0 && sequence.block_table != nullptr)
        << "first_row " << sequence.first_row << " expected " << num_rows() << ", num_rows "
        << sequence.num_rows << ", position " << sequence.first_position;
    VL2_CHECK(sequence.first_position + sequence.num_rows <= limits_.max_positions)
        << "positions up to " << sequence.first_position + sequence.num_rows << " of "
        << limits_.max_positions;
    for (int64_t i = 0; i < TableBlocks(sequence); ++i) {
      const int32_t block = sequence.block_table[i];
      VL2_CHECK(block >= 0 && block < limits_.num_blocks)
          << "block " << block << " of " << limits_.num_blocks;
      block_tables_.push_back(block);
    }
    for (int64_t i = 0; i < sequence.num_rows; ++i) {
      positions_.push_back(static_cast<int32_t>(sequence.first_position + i));
    }
  }
  // The tables do not move any more.
  const int32_t* table = block_tables_.data();
  for (SequenceRows& sequence : sequences_) {
    sequence.block_table = table;
    table += TableBlocks(sequence);
  }
  ids_.assign(rows.ids.begin(), rows.ids.end());
  VL2_CHECK(ids_.empty() || static_cast<int64_t>(ids_.size()) == num_rows())
      << ids_.size() << " ids for " << num_rows() << " rows";
  for (const int32_t id : ids_) {
    VL2_CHECK(id >= 0 && id < limits_.vocab_size) << "id " << id << " of " << limits_.vocab_size;
  }
  logit_rows_.assign(rows.logit_rows.begin(), rows.logit_rows.end());
  for (size_t i = 0; i < logit_rows_.size(); ++i) {
    const int32_t row = logit_rows_[i];
    VL2_CHECK(row >= 0 && row < num_rows() && (i == 0 || logit_rows_[i - 1] < row))
        << "row " << row << " of " << num_rows() << " at " << i;
  }
}

}  // namespace vl2
