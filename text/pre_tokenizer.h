// PreTokenizer: cuts text into the words that byte-pair merging works on, by the rules of a
// tokenizer.json's "pre_tokenizer".
//
// Understands Sequence, Split (Regex or String; all five behaviours; invert), Digits and ByteLevel
// (add_prefix_space, use_regex); anything else is refused when read. ByteLevel has to come last: it
// is what makes the vocabulary a byte-level one.
//
// Each step works on each piece of the step before it on its own: a look-ahead ends with the piece.
//
// Owns: its compiled patterns. Threading: immutable. Errors: INVALID_ARGUMENT naming the step.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/base/json.h"
#include "text/regex.h"

namespace vl2 {

class PreTokenizer {
 public:
  static constexpr size_t kMaxSteps = 64;

  // `json` is the value of "pre_tokenizer".
  static absl::StatusOr<PreTokenizer> FromJson(const Json& json);

  // Receives the words in order; none is empty. The view is valid during the call only. An error
  // ends the cutting and is returned.
  using WordSink = absl::FunctionRef<absl::Status(std::string_view word)>;

  // REQUIRES: valid UTF-8.
  absl::Status Split(std::string_view text, RegexScratch& scratch, WordSink sink) const;

 private:
  enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

  // A cut by a pattern, or (without one) the space that ByteLevel puts before each piece.
  struct Step {
    std::optional<Regex> pattern;
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;
  };

  absl::Status AddSteps(const Json& json, const std::string& context);
  absl::Status AddSplit(const JsonFields& fields);
  absl::Status AddPattern(absl::StatusOr<Regex> pattern, Behavior behavior, bool invert,
                          std::string_view context);

  absl::Status RunStep(size_t index, std::string_view piece, RegexScratch& scratch,
                       WordSink sink) const;
  absl::Status RunMerging(size_t index, std::string_view piece, RegexScratch& scratch,
                          WordSink sink) const;

  std::vector<Step> steps_;
  bool has_byte_level_ = false;
};

}  // namespace vl2
