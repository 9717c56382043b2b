// Tokenizer: text to token ids and back, as the tokenizer files of a checkpoint say.
//
// Byte-level BPE read from tokenizer.json; begin, end and padding token from tokenizer_config.json.
// Nothing about the vocabulary is built in: ids are looked up by content. Tokens that the published
// processor adds (padding, <image>, <|ref|>, <|/ref|>, <|det|>, <|/det|>, <|grounding|>, <|User|>,
// <|Assistant|>) and that the files lack are appended in that order, as the processor does.
//
// Invalid UTF-8 in the input is read as U+FFFD, one per maximal bad piece; NUL is a character like
// any other.
//
// Owns: the vocabulary. Threading: immutable, any number of threads.
// Errors: INVALID_ARGUMENT naming file and key for files that are malformed or need something that
// is not supported; INVALID_ARGUMENT naming the limit for texts beyond EncodeOptions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/base/json.h"
#include "text/added_tokens.h"
#include "text/bpe_model.h"
#include "text/pre_tokenizer.h"
#include "text/string_map.h"

namespace vl2 {

// Which control tokens a text can spell. Control tokens are the added tokens that are special or
// written in angle brackets (`<image>`, roles, begin and end). Other added tokens are vocabulary
// (single letters, in some checkpoints) and always match.
enum class ControlTokens {
  kAll,            // the published behaviour
  kGroundingOnly,  // <|ref|> <|/ref|> <|det|> <|/det|> <|grounding|>; the rest is plain text
  kNone,           // all is plain text
};

// Which special tokens decoding leaves out.
enum class SkipSpecial {
  kNone,
  kAll,
  kAllButGrounding,  // what an answer with boxes is read from
};

struct EncodeOptions {
  static constexpr size_t kDefaultMaxTextBytes = size_t{16} << 20;
  static constexpr size_t kDefaultMaxTokens = size_t{16} << 20;

  ControlTokens control = ControlTokens::kGroundingOnly;
  size_t max_text_bytes = kDefaultMaxTextBytes;
  size_t max_tokens = kDefaultMaxTokens;
};

// Ids of the tokens that prompts and answers are made of.
struct ControlTokenIds {
  int32_t begin, end, pad;
  int32_t image;
  int32_t ref, end_ref, det, end_det, grounding;
  int32_t user, assistant;
};

class Tokenizer {
 public:
  static constexpr size_t kMaxAddedTokens = 65'536;
  static constexpr size_t kMaxAddedTokenBytes = 1024;

  // Reads tokenizer.json and tokenizer_config.json in `checkpoint_folder`.
  static absl::StatusOr<Tokenizer> Load(const std::string& checkpoint_folder);
  static absl::StatusOr<Tokenizer> FromJson(const Json& tokenizer, const Json& tokenizer_config);

  // The ids of `text`; no begin or end token is added.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const EncodeOptions& options = {}) const;

  // The text of `ids`; bad UTF-8 becomes U+FFFD, one per maximal piece. Ids that no token has give
  // nothing. Added tokens give their content as it is spelled.
  std::string Decode(std::span<const int32_t> ids, SkipSpecial skip) const;
  std::string Decode(std::span<const int32_t> ids, bool skip_special) const {
    return Decode(ids, skip_special ? SkipSpecial::kAll : SkipSpecial::kNone);
  }

  // The bytes that `id` stands for; empty when no token has it. Not always valid UTF-8.
  std::string_view TokenBytes(int32_t id) const;
  bool IsSpecial(int32_t id) const;
  bool IsGrounding(int32_t id) const;
  bool IsSkipped(int32_t id, SkipSpecial skip) const;
  std::optional<int32_t> FindToken(std::string_view content) const;
  const ControlTokenIds& control_ids() const { return control_ids_; }
  // The most bytes of text that one token can stand for; 0 when there is no such number, because an
  // added token takes white space beside it along.
  size_t longest_token_bytes() const { return longest_token_bytes_; }
  // One more than the largest id.
  int32_t id_limit() const { return static_cast<int32_t>(table_.size()); }

 private:
  friend class TokenizerReader;

  struct TableEntry {
    uint32_t offset = 0;  // into bytes_
    uint32_t num_bytes = 0;
    bool special = false;
  };
  // The added tokens that one value of ControlTokens lets match: those that the files mark as not
  // normalized are cut out first, the others from what is left.
  struct Matchers {
    AddedTokenMatcher first, second;
  };

  Tokenizer(PreTokenizer pre_tokenizer, BpeModel bpe)
      : pre_tokenizer_(std::move(pre_tokenizer)), bpe_(std::move(bpe)) {}

  PreTokenizer pre_tokenizer_;
  BpeModel bpe_;
  std::vector<Matchers> matchers_;  // by ControlTokens
  std::vector<TableEntry> table_;   // by id
  std::string bytes_;
  StringMap<int32_t> ids_;  // by content
  ControlTokenIds control_ids_{};
  size_t longest_token_bytes_ = 0;
};

}  // namespace vl2
