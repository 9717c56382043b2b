#include "text/tokenizer.h"

#include <utility>

#include "runtime/base/status.h"
#include "text/utf8.h"

namespace vl2 {

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(std::string_view text,
                                                       const EncodeOptions& options) const {
  if (text.size() > options.max_text_bytes) {
    return InvalidArgument("the text has ", text.size(), " bytes, the limit is ",
                           options.max_text_bytes);
  }
  std::string repaired;
  if (!IsValidUtf8(text)) {
    AppendRepairedUtf8(text, repaired);
    text = repaired;
  }

  std::vector<int32_t> ids;
  const auto check_count = [&]() -> absl::Status {
    if (ids.size() <= options.max_tokens) return absl::OkStatus();
    return InvalidArgument("the text has more than ", options.max_tokens, " tokens, the limit");
  };
  RegexScratch regex_scratch;
  BpeModel::Scratch bpe_scratch;
  const auto add_word = [&](std::string_view word) {
    bpe_.Encode(word, bpe_scratch, ids);
    return check_count();
  };

  const Matchers& matchers = matchers_[static_cast<size_t>(options.control)];
  VL2_ASSIGN_OR_RETURN(const auto outer, matchers.first.Cut(text, regex_scratch));
  for (const auto& [outer_range, outer_id] : outer) {
    if (outer_id) {
      ids.push_back(*outer_id);
      continue;
    }
    const std::string_view piece =
        text.substr(outer_range.begin, outer_range.end - outer_range.begin);
    VL2_ASSIGN_OR_RETURN(const auto inner, matchers.second.Cut(piece, regex_scratch));
    for (const auto& [range, id] : inner) {
      if (id) {
        ids.push_back(*id);
        continue;
      }
      VL2_RETURN_IF_ERROR(pre_tokenizer_.Split(piece.substr(range.begin, range.end - range.begin),
                                               regex_scratch, add_word));
    }
  }
  VL2_RETURN_IF_ERROR(check_count());
  return ids;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, SkipSpecial skip) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (!IsSkipped(id, skip)) bytes += TokenBytes(id);
  }
  std::string text;
  text.reserve(bytes.size());
  AppendRepairedUtf8(bytes, text);
  return text;
}

std::string_view Tokenizer::TokenBytes(int32_t id) const {
  if (id < 0 || id >= id_limit()) return {};
  const TableEntry& entry = table_[static_cast<size_t>(id)];
  return std::string_view(bytes_).substr(entry.offset, entry.num_bytes);
}

bool Tokenizer::IsSpecial(int32_t id) const {
  return id >= 0 && id < id_limit() && table_[static_cast<size_t>(id)].special;
}

bool Tokenizer::IsGrounding(int32_t id) const {
  const ControlTokenIds& ids = control_ids_;
  return id == ids.ref || id == ids.end_ref || id == ids.det || id == ids.end_det ||
         id == ids.grounding;
}

bool Tokenizer::IsSkipped(int32_t id, SkipSpecial skip) const {
  if (skip == SkipSpecial::kNone || !IsSpecial(id)) return false;
  return skip == SkipSpecial::kAll || !IsGrounding(id);
}

std::optional<int32_t> Tokenizer::FindToken(std::string_view content) const {
  const auto it = ids_.find(content);
  if (it == ids_.end()) return std::nullopt;
  return it->second;
}

}  // namespace vl2
