// Regex: a pattern of a tokenizer.json, compiled once (PCRE2 with Unicode, just in time where the
// machine allows it) and searched many times.
//
// The published library reads these patterns with Oniguruma. The translation done here covers where
// the two differ: `\s` and `\w` mean the same characters, `^` and `$` match at every line.
// Constructs that would mean something else to PCRE2 are refused: nested character classes, `&&` in
// a class, `\h`, `\H`, `\b`, `\B` and negated `\S` or `\W` inside a class.
//
// Owns: the compiled program. Threading: immutable; each thread brings its own RegexScratch.
// Errors: INVALID_ARGUMENT for a pattern that does not compile, and for a text on which the matcher
// gives up (kMaxBacktracking steps from one position).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vl2 {

struct TextRange {
  size_t begin = 0;
  size_t end = 0;
};

// Working memory of searches. Any number of patterns may use it in turn, one at a time.
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(RegexScratch&&) noexcept;

 private:
  friend class Regex;
  struct State;
  std::unique_ptr<State> state_;
};

class Regex {
 public:
  static constexpr size_t kMaxPatternBytes = 64 << 10;
  static constexpr uint32_t kMaxBacktracking = 100'000'000;

  static absl::StatusOr<Regex> Compile(std::string_view pattern);
  // Finds `text` itself.
  static absl::StatusOr<Regex> CompileLiteral(std::string_view text);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // True and *match when the pattern matches in `text` at or after `start`. Look-behind sees the
  // text before `start`. REQUIRES: valid UTF-8, `start` at a character.
  absl::StatusOr<bool> Find(std::string_view text, size_t start, RegexScratch& scratch,
                            TextRange* match) const;

 private:
  struct Program;
  explicit Regex(std::unique_ptr<Program> program);
  static absl::StatusOr<Regex> CompileTranslated(std::string_view pattern, uint32_t options);

  std::unique_ptr<Program> program_;
};

// The pattern as PCRE2 has to see it (exposed for tests).
absl::StatusOr<std::string> TranslatePattern(std::string_view pattern);

}  // namespace vl2
