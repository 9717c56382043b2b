#include "lm_service/scheduler/slot_embeddings.h"

#include <algorithm>

namespace vl2 {

SlotEmbeddings::SlotEmbeddings(int64_t first_position, int64_t num_embeddings, int64_t hidden)
    : first_position_(first_position),
      num_embeddings_(num_embeddings),
      hidden_(hidden),
      is_here_(static_cast<size_t>(num_embeddings), false) {}

void SlotEmbeddings::SetCached(int64_t num_cached) {
  first_needed_ = std::clamp(num_cached - first_position_, int64_t{0}, num_embeddings_);
  UpdateReady();
}

void SlotEmbeddings::NeedAll() {
  first_needed_ = 0;
  num_ready_ = 0;
  UpdateReady();
}

void SlotEmbeddings::Drop() {
  data_ = {};
  is_here_.assign(is_here_.size(), false);
  num_ready_ = first_needed_;
}

void SlotEmbeddings::Add(int64_t first, ConstHostMatrix embeddings) {
  VL2_CHECK(first >= 0 && first + embeddings.rows <= num_embeddings_ && embeddings.cols == hidden_)
      << first << "+" << embeddings.rows << " of " << num_embeddings_;
  data_.resize(static_cast<size_t>(num_embeddings_ * hidden_));
  for (int64_t r = 0; r < embeddings.rows; ++r) {
    const auto index = static_cast<size_t>(first + r);
    if (is_here_[index]) continue;
    is_here_[index] = true;
    std::copy_n(embeddings.row(r), hidden_, data_.begin() + (first + r) * hidden_);
  }
  UpdateReady();
}

void SlotEmbeddings::UpdateReady() {
  num_ready_ = std::max(num_ready_, first_needed_);
  while (num_ready_ < num_embeddings_ && is_here_[static_cast<size_t>(num_ready_)]) ++num_ready_;
}

}  // namespace vl2
