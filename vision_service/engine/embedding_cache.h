// EmbeddingCache: finished encodings by content key, least recently used ones dropped first.
//
// Owns: references to encodings. Threading: one thread at a time. Limits: max_bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "vision_service/engine/byte_lru.h"
#include "vision_service/engine/encoding.h"

namespace vl2 {

class EmbeddingCache {
 public:
  explicit EmbeddingCache(int64_t max_bytes) : encodings_(max_bytes) {}

  // The encoding, now the most recently used; nullptr when it is not here.
  std::shared_ptr<Encoding> Find(const std::string& content_key) {
    return encodings_.Find(content_key);
  }
  bool Contains(const std::string& content_key) const { return encodings_.Contains(content_key); }
  // REQUIRES: complete. One that is here already, or larger than the cache, changes nothing.
  void Add(const std::shared_ptr<Encoding>& encoding) {
    encodings_.Add(encoding->job.content_key, encoding, encoding->num_bytes());
  }
  int64_t num_bytes() const { return encodings_.num_bytes(); }

 private:
  ByteLru<std::shared_ptr<Encoding>> encodings_;
};

}  // namespace vl2
