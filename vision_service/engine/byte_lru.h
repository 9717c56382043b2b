// ByteLru: values by key, bounded in the bytes that they are said to take, least recently used ones
// dropped first.
//
// Owns: its copies of keys and values. Threading: one thread at a time. Limits: max_bytes.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <unordered_map>
#include <utility>

namespace vl2 {

// `Value`: a shared pointer; null stands for what is not here.
template <typename Value>
class ByteLru {
 public:
  explicit ByteLru(int64_t max_bytes) : max_bytes_(max_bytes) {}

  // The value, now the most recently used; null when it is not here.
  Value Find(const std::string& key) {
    const auto it = places_.find(key);
    if (it == places_.end()) return nullptr;
    order_.splice(order_.begin(), order_, it->second);
    return it->second->value;
  }
  bool Contains(const std::string& key) const { return places_.count(key) > 0; }
  // One that is here already, or larger than the whole, changes nothing.
  void Add(const std::string& key, Value value, int64_t bytes) {
    if (bytes > max_bytes_ || Contains(key)) return;
    while (num_bytes_ + bytes > max_bytes_) {
      num_bytes_ -= order_.back().bytes;
      places_.erase(order_.back().key);
      order_.pop_back();
    }
    num_bytes_ += bytes;
    order_.push_front({key, std::move(value), bytes});
    places_[key] = order_.begin();
  }
  int64_t max_bytes() const { return max_bytes_; }
  int64_t num_bytes() const { return num_bytes_; }

 private:
  struct Entry {
    std::string key;
    Value value;
    int64_t bytes = 0;
  };
  using Order = std::list<Entry>;  // most recently used first

  const int64_t max_bytes_;
  int64_t num_bytes_ = 0;
  Order order_;
  std::unordered_map<std::string, typename Order::iterator> places_;
};

}  // namespace vl2
