#include "text/incremental_detokenizer.h"

#include <algorithm>
#include <utility>

#include "text/utf8.h"

namespace vl2 {
namespace {

// The number of bytes at the end of `bytes` that may yet become a character.
size_t OpenSuffix(std::string_view bytes) {
  const size_t longest = std::min<size_t>(3, bytes.size());
  for (size_t length = longest; length > 0; --length) {
    const Utf8Piece piece = ReadUtf8(bytes.substr(bytes.size() - length));
    // A suffix that begins inside a character starts with a continuation byte: kBad.
    if (piece.kind == Utf8Kind::kIncomplete && piece.num_bytes == length) return length;
  }
  return 0;
}

}  // namespace

std::string IncrementalDetokenizer::Push(int32_t id) {
  if (tokenizer_->IsSkipped(id, skip_)) return {};
  open_ += tokenizer_->TokenBytes(id);
  const size_t closed = open_.size() - OpenSuffix(open_);
  std::string text;
  AppendRepairedUtf8(std::string_view(open_).substr(0, closed), text);
  open_.erase(0, closed);
  num_text_bytes_ += static_cast<int64_t>(text.size());
  return text;
}

std::string IncrementalDetokenizer::Finish() {
  std::string text;
  AppendRepairedUtf8(std::exchange(open_, {}), text);
  num_text_bytes_ += static_cast<int64_t>(text.size());
  return text;
}

}  // namespace vl2
