// EmbeddingCache: finished encodings by content key, least recently used ones dropped first.
//
// Owns: references to encodings. Threading: one thread at a time. Limits: max_bytes.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "vision_service/engine/encoding.h"

namespace vl2 {

class EmbeddingCache {
 public:
  explicit EmbeddingCache(int64_t max_bytes) : max_bytes_(max_bytes) {}

  // The encoding, now the most recently used; nullptr when it is not here.
  std::shared_ptr<Encoding> Find(const std::string& content_key);
  bool Contains(const std::string& content_key) const { return places_.count(content_key) > 0; }
  // REQUIRES: complete, not here yet. One that is larger than the cache is not kept.
  void Add(std::shared_ptr<Encoding> encoding);
  int64_t num_bytes() const { return num_bytes_; }

 private:
  using Order = std::list<std::shared_ptr<Encoding>>;  // most recently used first

  const int64_t max_bytes_;
  int64_t num_bytes_ = 0;
  Order order_;
  std::unordered_map<std::string, Order::iterator> places_;
};

}  // namespace vl2
