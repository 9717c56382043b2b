// SlotEmbeddings: the embeddings of one picture of a prompt, as they arrive.
//
// Owns: the embeddings, on the host. Threading: engine thread only.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/tensor/matrix.h"

namespace vl2 {

class SlotEmbeddings {
 public:
  SlotEmbeddings(int64_t first_position, int64_t num_embeddings, int64_t hidden);

  int64_t first_position() const { return first_position_; }
  int64_t num_embeddings() const { return num_embeddings_; }
  // Embeddings below are covered by the prefix cache and never asked for.
  int64_t first_needed() const { return first_needed_; }
  // Prompt positions [0, num_cached) are cached: which embeddings are needed then.
  void SetCached(int64_t num_cached);
  // The cached part was lost: all embeddings are needed.
  void NeedAll();
  // Gives the memory back: what is needed has to come again.
  void Drop();
  // Embeddings [first_needed, num_ready) are here.
  int64_t num_ready() const { return num_ready_; }
  bool complete() const { return num_ready_ == num_embeddings_; }
  // The first position whose embedding is missing; the one after the picture when none is.
  int64_t ready_position() const { return first_position_ + num_ready_; }

  // Takes embeddings [first, first + rows). Those that are here already are left as they are.
  void Add(int64_t first, ConstHostMatrix embeddings);
  // Embeddings [first, first + count). REQUIRES: first_needed <= first, first + count <= num_ready.
  ConstHostMatrix Rows(int64_t first, int64_t count) const {
    return {data_.data() + first * hidden_, count, hidden_};
  }

  // Host memory they take once they arrive.
  int64_t num_bytes() const {
    return num_embeddings_ * hidden_ * static_cast<int64_t>(sizeof(float));
  }

 private:
  void UpdateReady();

  const int64_t first_position_;
  const int64_t num_embeddings_;
  const int64_t hidden_;
  int64_t first_needed_ = 0;
  int64_t num_ready_ = 0;
  std::vector<float> data_;    // [num_embeddings, hidden], empty until the first arrive
  std::vector<bool> is_here_;  // per embedding
};

}  // namespace vl2
