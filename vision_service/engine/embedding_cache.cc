#include "vision_service/engine/embedding_cache.h"

#include <utility>

namespace vl2 {

std::shared_ptr<Encoding> EmbeddingCache::Find(const std::string& content_key) {
  const auto it = places_.find(content_key);
  if (it == places_.end()) return nullptr;
  order_.splice(order_.begin(), order_, it->second);
  return *it->second;
}

void EmbeddingCache::Add(std::shared_ptr<Encoding> encoding) {
  const int64_t needed = encoding->num_bytes();
  if (needed > max_bytes_ || Contains(encoding->job.content_key)) return;
  while (num_bytes_ + needed > max_bytes_) {
    num_bytes_ -= order_.back()->num_bytes();
    places_.erase(order_.back()->job.content_key);
    order_.pop_back();
  }
  num_bytes_ += needed;
  order_.push_front(std::move(encoding));
  places_[order_.front()->job.content_key] = order_.begin();
}

}  // namespace vl2
