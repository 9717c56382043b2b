// Batch: the rows of one step as operations see them: whose rows they are, which positions, where
// their keys and values lie in the cache. Set once a step by Ops::SetBatch, which checks every
// value and brings to the device what the device needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/tensor/device.h"

namespace vl2 {

// One sequence's rows in a ragged batch: consecutive positions.
struct SequenceRows {
  int64_t first_row = 0;       // its first row in the batch
  int64_t num_rows = 0;        // >= 1
  int64_t first_position = 0;  // position of that row
  // Positions below are of the prompt, the others were generated. The two use different forms of
  // attention arithmetic, also when they are computed again after a preemption, so that a
  // position's result never depends on how it came into the batch.
  int64_t num_prompt = 0;
  const int32_t* block_table = nullptr;  // covers first_position + num_rows positions
};

// What the values of a batch stay below.
struct BatchLimits {
  int64_t num_blocks = 0;     // of the cache
  int64_t max_positions = 0;  // of the rotary table
  int64_t vocab_size = 0;
};

// The host's data of a step. Borrowed during SetBatch.
struct BatchRows {
  std::span<const SequenceRows> sequences;  // cover the rows in order
  std::span<const int32_t> ids;             // [rows], token ids; may be empty: Embed is not used
  std::span<const int32_t> logit_rows;      // rows that TakeRows takes, ascending
  BatchLimits limits;
};

// Made by Ops::NewBatch; backends keep their device's copies in a class of their own.
class Batch {
 public:
  virtual ~Batch() = default;
  Batch() = default;
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  int64_t num_rows() const { return static_cast<int64_t>(positions_.size()); }
  const BatchLimits& limits() const { return limits_; }
  // The host's side. Block tables point into this object.
  std::span<const SequenceRows> sequences() const { return sequences_; }
  std::span<const int32_t> positions() const { return positions_; }  // [rows]
  std::span<const int32_t> ids() const { return ids_; }              // [rows] or empty
  std::span<const int32_t> logit_rows() const { return logit_rows_; }

 private:
  friend class Ops;
  // Checks and copies; a value out of range is a bug: VL2_CHECK.
  void Set(const BatchRows& rows);

  BatchLimits limits_;
  std::vector<SequenceRows> sequences_;
  std::vector<int32_t> block_tables_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> ids_;
  std::vector<int32_t> logit_rows_;
};

}  // namespace vl2
