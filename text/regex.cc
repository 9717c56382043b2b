#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

// Unicode White_Space; PCRE2's own \s also takes U+180E.
constexpr std::string_view kSpaces =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a})"
    R"(\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
// PCRE2's own \w leaves out marks.
constexpr std::string_view kWords = R"(\p{L}\p{M}\p{N}\p{Pc})";

constexpr size_t kJitStackStartBytes = 64 << 10;
constexpr size_t kJitStackMaxBytes = 1 << 20;

std::string CompileMessage(int code) {
  unsigned char buffer[256];
  const int length = pcre2_get_error_message(code, buffer, sizeof(buffer));
  if (length < 0) return Cat("error ", code);
  return std::string(reinterpret_cast<char*>(buffer), static_cast<size_t>(length));
}

}  // namespace

absl::StatusOr<std::string> TranslatePattern(std::string_view pattern) {
  // A run of n spaces that does not end its line would be tried from each of its n starts, n steps
  // each. All matches of this pattern start where a run starts, so the others need no trying.
  if (pattern == R"(\s+$)") return Cat("(?<![", kSpaces, "])[", kSpaces, "]+$");

  std::string out;
  bool in_class = false;
  size_t class_start = 0;  // index of the first item of the class
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\') {
      if (i + 1 == pattern.size()) return InvalidArgument("pattern ends with a backslash");
      const char next = pattern[++i];
      if (next == 's' || next == 'w') {
        const std::string_view set = next == 's' ? kSpaces : kWords;
        out += in_class ? std::string(set) : Cat("[", set, "]");
      } else if ((next == 'S' || next == 'W') && !in_class) {
        out += Cat("[^", next == 'S' ? kSpaces : kWords, "]");
      } else if (next == 'h' || next == 'H' || next == 'b' || next == 'B' || next == 'S' ||
                 next == 'W') {
        return InvalidArgument("\\", std::string_view(&next, 1), in_class ? " inside a class" : "",
                               " is not supported");
      } else {
        out += {'\\', next};
      }
      continue;
    }
    if (in_class) {
      const bool posix = c == '[' && i + 1 < pattern.size() && pattern[i + 1] == ':';
      if ((c == '[' && !posix) || (c == '&' && i + 1 < pattern.size() && pattern[i + 1] == '&')) {
        return InvalidArgument("set operations inside a character class are not supported");
      }
      if (posix) {
        const size_t end = pattern.find(":]", i + 2);
        if (end == std::string_view::npos) {
          return InvalidArgument("a POSIX class is not closed");
        }
        out += pattern.substr(i, end + 2 - i);
        i = end + 1;
        continue;
      }
      if (c == ']' && i > class_start) in_class = false;
    } else if (c == '[') {
      in_class = true;
      class_start = i + 1;
      if (class_start < pattern.size() && pattern[class_start] == '^') ++class_start;
    }
    out.push_back(c);
  }
  return out;
}

struct RegexScratch::State {
  State()
      : match(pcre2_match_data_create(1, nullptr)), context(pcre2_match_context_create(nullptr)) {
    VL2_CHECK(match != nullptr && context != nullptr) << "out of memory";
    pcre2_set_match_limit(context, Regex::kMaxBacktracking);
  }
  // Mapping a stack costs more than cutting a short text, and few patterns need more than the
  // 32 KiB that compiled code takes from the machine stack: made when one does. False when there
  // is one already.
  bool AddStack() {
    if (stack != nullptr) return false;
    stack = pcre2_jit_stack_create(kJitStackStartBytes, kJitStackMaxBytes, nullptr);
    if (stack == nullptr) return false;
    pcre2_jit_stack_assign(context, nullptr, stack);
    return true;
  }
  ~State() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(match);
  }

  pcre2_match_data* match;
  pcre2_match_context* context;
  pcre2_jit_stack* stack = nullptr;
};

RegexScratch::RegexScratch() : state_(std::make_unique<State>()) {}
RegexScratch::~RegexScratch() = default;
RegexScratch::RegexScratch(RegexScratch&&) noexcept = default;

struct Regex::Program {
  explicit Program(pcre2_code* code)
      : code(code), jit(pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0) {}
  ~Program() { pcre2_code_free(code); }

  pcre2_code* code;
  bool jit;
};

Regex::Regex(std::unique_ptr<Program> program) : program_(std::move(program)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

absl::StatusOr<Regex> Regex::CompileTranslated(std::string_view pattern, uint32_t options) {
  if (pattern.size() > kMaxPatternBytes) {
    return InvalidArgument("pattern has ", pattern.size(), " bytes, the limit is ",
                           kMaxPatternBytes);
  }
  struct FreeContext {
    void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
  };
  const std::unique_ptr<pcre2_compile_context, FreeContext> context(
      pcre2_compile_context_create(nullptr));
  VL2_CHECK(context != nullptr) << "out of memory";
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   PCRE2_UTF | options, &error, &offset, context.get());
  if (code == nullptr) {
    return InvalidArgument("pattern does not compile: ", CompileMessage(error), " at byte ",
                           offset);
  }
  return Regex(std::make_unique<Program>(code));
}

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern) {
  VL2_ASSIGN_OR_RETURN(const std::string translated, TranslatePattern(pattern));
  return CompileTranslated(translated, PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
}

absl::StatusOr<Regex> Regex::CompileLiteral(std::string_view text) {
  return CompileTranslated(text, PCRE2_LITERAL);
}

absl::StatusOr<bool> Regex::Find(std::string_view text, size_t start, RegexScratch& scratch,
                                 TextRange* match) const {
  RegexScratch::State& state = *scratch.state_;
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const auto run = [&] {
    return (program_->jit ? pcre2_jit_match : pcre2_match)(program_->code, subject, text.size(),
                                                           start, PCRE2_NO_UTF_CHECK, state.match,
                                                           state.context);
  };
  int result = run();
  if (result == PCRE2_ERROR_JIT_STACKLIMIT && state.AddStack()) result = run();
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0) {
    return InvalidArgument("the text cannot be split into words: ", CompileMessage(result));
  }
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(state.match);
  // \K can place the start behind the end, or before the search's start.
  if (offsets[0] < start || offsets[1] < offsets[0]) {
    return InvalidArgument("a split pattern moves its match backwards");
  }
  *match = {offsets[0], offsets[1]};
  return true;
}

}  // namespace vl2
