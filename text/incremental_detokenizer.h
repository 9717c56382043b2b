// IncrementalDetokenizer: token ids in, one at a time, text out. Never releases half a character:
// the concatenation of all releases is exactly Tokenizer::Decode of all ids.
//
// Owns: up to three undecided bytes. Borrows the tokenizer. Threading: one stream, one thread.
#pragma once

#include <cstdint>
#include <string>

#include "text/tokenizer.h"

namespace vl2 {

class IncrementalDetokenizer {
 public:
  // `tokenizer` must outlive this.
  IncrementalDetokenizer(const Tokenizer* tokenizer, SkipSpecial skip)
      : tokenizer_(tokenizer), skip_(skip) {}

  // The text that `id` completes; empty while a character is still open.
  std::string Push(int32_t id);

  // What is still open, as U+FFFD. Push may be called again: a new text begins.
  std::string Finish();

  // Bytes of text released since the start: the offset of the next release.
  int64_t num_text_bytes() const { return num_text_bytes_; }
  // True when all bytes of all ids so far have been released.
  bool at_boundary() const { return open_.empty(); }

 private:
  const Tokenizer* tokenizer_;
  SkipSpecial skip_;
  std::string open_;  // the start of a character, valid so far
  int64_t num_text_bytes_ = 0;
};

}  // namespace vl2
