// StopMatcher: finds stop strings in text that arrives in pieces. Text is released as soon as it
// cannot be part of a stop string any more; the stop string itself and what follows never are.
//
// The stop string that ends first wins; of those that end at the same byte, the longest.
//
// Owns: its automaton and the held text (shorter than the longest stop string).
// Threading: one stream, one thread. Errors: INVALID_ARGUMENT naming the limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace vl2 {

class StopMatcher {
 public:
  static constexpr size_t kMaxStops = 64;
  static constexpr size_t kMaxStopBytes = 4096;

  // Each stop string is valid UTF-8 of 1..kMaxStopBytes bytes. None at all is allowed.
  static absl::StatusOr<StopMatcher> Create(std::vector<std::string> stops);

  // The text that is released. Once a stop string has been found, nothing more is.
  std::string Push(std::string_view text);

  // The end of the stream: what is held, which was no stop string.
  std::string Finish();

  // Index of the stop string that was found.
  std::optional<size_t> stop() const { return stop_; }
  // Bytes held back now.
  size_t held_bytes() const { return held_.size(); }

 private:
  // One stop string and how much of it the text so far ends with (Knuth, Morris, Pratt).
  struct Pattern {
    std::string text;
    std::vector<uint32_t> border;  // of each prefix: its longest proper prefix that is a suffix too
    uint32_t matched = 0;
  };

  static bool Advance(Pattern& pattern, char byte);

  std::vector<Pattern> patterns_;
  std::string held_;
  std::optional<size_t> stop_;
};

}  // namespace vl2
