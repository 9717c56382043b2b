#include "runtime/base/json_document.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/excerpt.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

// No number that means something is longer; and reading one takes more than linear time.
constexpr size_t kMaxNumberBytes = 1000;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsContinuation(unsigned char byte) { return (byte & 0xc0) == 0x80; }

// Bytes of the UTF-8 sequence at the front of `text`; 0 when it is not well-formed.
size_t SequenceLength(const unsigned char* text, size_t num_bytes) {
  const unsigned char lead = text[0];
  const size_t length = lead < 0x80                    ? 1
                        : lead >= 0xc2 && lead <= 0xdf ? 2
                        : lead >= 0xe0 && lead <= 0xef ? 3
                        : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                       : 0;
  if (length == 0 || length > num_bytes) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!IsContinuation(text[i])) return 0;
  }
  // No overlong forms, no surrogates, nothing above U+10FFFF.
  if (lead == 0xe0 && text[1] < 0xa0) return 0;
  if (lead == 0xed && text[1] > 0x9f) return 0;
  if (lead == 0xf0 && text[1] < 0x90) return 0;
  if (lead == 0xf4 && text[1] > 0x8f) return 0;
  return length;
}

// Writes the code point as UTF-8; returns the place behind it.
char* PutUtf8(uint32_t code_point, char* to) {
  const auto put = [&to](uint32_t byte) { *to++ = static_cast<char>(byte); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xc0 | (code_point >> 6));
    put(0x80 | (code_point & 0x3f));
  } else if (code_point < 0x10000) {
    put(0xe0 | (code_point >> 12));
    put(0x80 | ((code_point >> 6) & 0x3f));
    put(0x80 | (code_point & 0x3f));
  } else {
    put(0xf0 | (code_point >> 18));
    put(0x80 | ((code_point >> 12) & 0x3f));
    put(0x80 | ((code_point >> 6) & 0x3f));
    put(0x80 | (code_point & 0x3f));
  }
  return to;
}

}  // namespace

// Reads one text into a document's nodes. Recursive: the depth is limited.
class JsonReader {
 public:
  JsonReader(const JsonDocumentLimits& limits, JsonDocument* document)
      : limits_(limits),
        nodes_(document->nodes_),
        begin_(document->text_.data()),
        at_(document->text_.data()),
        end_(at_ + document->text_.size()) {}

  absl::Status ReadAll() {
    if (std::string_view(at_, Left()).starts_with("\xef\xbb\xbf")) at_ += 3;
    VL2_RETURN_IF_ERROR(ReadValue(0));
    SkipSpace();
    return at_ == end_ ? absl::OkStatus() : Fault("the end of the text");
  }

 private:
  using Node = JsonDocument::Node;

  size_t Left() const { return static_cast<size_t>(end_ - at_); }

  absl::Status Fault(std::string_view expected) const {
    const std::string_view rest(at_, Left());
    return InvalidArgument(
        "not valid JSON: at byte ", at_ - begin_, " ", expected, " is expected",
        rest.empty() ? ", the text ends" : ", found " + Excerpt(rest.substr(0, NumShown(rest))));
  }
  // One character says enough.
  static size_t NumShown(std::string_view rest) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(rest.data());
    return std::max<size_t>(SequenceLength(bytes, rest.size()), 1);
  }

  void SkipSpace() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }

  bool Take(char c) {
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }

  absl::Status AddNode(JsonKind kind, uint32_t* index) {
    if (nodes_.size() >= limits_.max_nodes) {
      return InvalidArgument("the JSON text has more than ", limits_.max_nodes,
                             " values and keys, the limit");
    }
    *index = static_cast<uint32_t>(nodes_.size());
    nodes_.push_back({kind, 0, *index + 1, {0}});
    return absl::OkStatus();
  }

  absl::Status ReadValue(int depth) {
    SkipSpace();
    if (at_ == end_) return Fault("a value");
    switch (*at_) {
      case '{':
        return ReadObject(depth);
      case '[':
        return ReadArray(depth);
      case '"':
        return ReadString();
      case 't':
        return ReadWord("true", JsonKind::kTrue);
      case 'f':
        return ReadWord("false", JsonKind::kFalse);
      case 'n':
        return ReadWord("null", JsonKind::kNull);
      default:
        return ReadNumber();
    }
  }

  absl::Status CheckDepth(int depth) const {
    if (depth < limits_.max_depth) return absl::OkStatus();
    return InvalidArgument("the JSON text is nested deeper than ", limits_.max_depth, " levels");
  }

  absl::Status ReadArray(int depth) {
    VL2_RETURN_IF_ERROR(CheckDepth(depth));
    uint32_t index;
    VL2_RETURN_IF_ERROR(AddNode(JsonKind::kArray, &index));
    ++at_;
    SkipSpace();
    uint32_t size = 0;
    if (!Take(']')) {
      do {
        VL2_RETURN_IF_ERROR(ReadValue(depth + 1));
        ++size;
        SkipSpace();
      } while (Take(','));
      if (!Take(']')) return Fault("',' or ']'");
    }
    Close(index, size);
    return absl::OkStatus();
  }

  absl::Status ReadObject(int depth) {
    VL2_RETURN_IF_ERROR(CheckDepth(depth));
    uint32_t index;
    VL2_RETURN_IF_ERROR(AddNode(JsonKind::kObject, &index));
    ++at_;
    SkipSpace();
    uint32_t size = 0;
    if (!Take('}')) {
      do {
        SkipSpace();
        if (at_ == end_ || *at_ != '"') return Fault("a key in quotation marks");
        VL2_RETURN_IF_ERROR(ReadString());
        SkipSpace();
        if (!Take(':')) return Fault("':'");
        VL2_RETURN_IF_ERROR(ReadValue(depth + 1));
        ++size;
        SkipSpace();
      } while (Take(','));
      if (!Take('}')) return Fault("',' or '}'");
    }
    Close(index, size);
    return absl::OkStatus();
  }

  void Close(uint32_t index, uint32_t size) {
    nodes_[index].size = size;
    nodes_[index].end = static_cast<uint32_t>(nodes_.size());
  }

  absl::Status ReadWord(std::string_view word, JsonKind kind) {
    if (!std::string_view(at_, Left()).starts_with(word)) return Fault("a value");
    at_ += word.size();
    uint32_t index;
    return AddNode(kind, &index);
  }

  absl::Status ReadNumber() {
    const char* const first = at_;
    const char* p = at_;
    const auto digits = [&] {
      const char* const from = p;
      while (p != end_ && IsDigit(*p)) ++p;
      return p != from;
    };
    if (p != end_ && *p == '-') ++p;
    const bool leading_zero = p != end_ && *p == '0';
    if (leading_zero ? (++p, false) : !digits()) return Fault(p == at_ ? "a value" : "a number");
    bool whole = true;
    if (p != end_ && *p == '.') {
      whole = false;
      ++p;
      if (!digits()) return Fault("a number");
    }
    if (p != end_ && (*p == 'e' || *p == 'E')) {
      whole = false;
      ++p;
      if (p != end_ && (*p == '+' || *p == '-')) ++p;
      if (!digits()) return Fault("a number");
    }
    const auto num_bytes = static_cast<size_t>(p - first);
    if (num_bytes > kMaxNumberBytes) {
      return InvalidArgument("the number at byte ", first - begin_, " has ", num_bytes,
                             " characters, the limit is ", kMaxNumberBytes);
    }
    uint32_t index;
    VL2_RETURN_IF_ERROR(AddNode(JsonKind::kDouble, &index));
    at_ = const_cast<char*>(p);
    Node& node = nodes_[index];
    if (whole && std::from_chars(first, p, node.integer).ec == std::errc()) {
      node.kind = JsonKind::kInteger;
      return absl::OkStatus();
    }
    if (whole && *first != '-' && std::from_chars(first, p, node.natural).ec == std::errc()) {
      node.kind = JsonKind::kUnsigned;
      return absl::OkStatus();
    }
    return ReadDouble({first, num_bytes}, node);
  }

  absl::Status ReadDouble(std::string_view text, Node& node) const {
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), node.real);
    if (error == std::errc()) return absl::OkStatus();
    // Too large, or too small: from_chars does not say which. strtod does, and gives the nearest.
    node.real = std::strtod(std::string(text).c_str(), nullptr);
    if (std::isfinite(node.real)) return absl::OkStatus();
    return InvalidArgument("the number ", Excerpt(text), " at byte ", text.data() - begin_,
                           " is too large");
  }

  // From the opening quotation mark. Text without escapes is left where it is; behind the first
  // escape what follows moves up to close the gaps.
  absl::Status ReadString() {
    uint32_t index;
    VL2_RETURN_IF_ERROR(AddNode(JsonKind::kString, &index));
    ++at_;
    char* const first = at_;
    char* to = at_;
    for (;;) {
      const char* const run = at_;
      SkipPlain();
      const auto num_plain = static_cast<size_t>(at_ - run);
      if (to != run) std::char_traits<char>::move(to, run, num_plain);
      to += num_plain;
      if (at_ == end_) return Fault("the end of a string");
      if (*at_ == '"') break;
      if (*at_ != '\\') return FaultInString();
      VL2_RETURN_IF_ERROR(ReadEscape(&to));
    }
    ++at_;
    nodes_[index].size = static_cast<uint32_t>(to - first);
    nodes_[index].offset = static_cast<size_t>(first - begin_);
    return absl::OkStatus();
  }

  // Up to the next quotation mark, backslash, control character or bad UTF-8.
  void SkipPlain() {
    while (at_ != end_) {
      const auto c = static_cast<unsigned char>(*at_);
      if (c == '"' || c == '\\' || c < 0x20) return;
      if (c < 0x80) {
        ++at_;
        continue;
      }
      const size_t length = SequenceLength(reinterpret_cast<const unsigned char*>(at_), Left());
      if (length == 0) return;
      at_ += length;
    }
  }

  absl::Status FaultInString() const {
    const auto c = static_cast<unsigned char>(*at_);
    return InvalidArgument("not valid JSON: at byte ", at_ - begin_, " a string has ",
                           c < 0x20 ? "a control character that is not escaped" : "invalid UTF-8");
  }

  absl::Status ReadEscape(char** to) {
    constexpr std::string_view kLetters = "\"\\/bfnrt";
    constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
    if (Left() >= 2 && at_[1] == 'u') return ReadUnicodeEscape(to);
    const size_t letter = Left() < 2 ? kLetters.npos : kLetters.find(at_[1]);
    if (letter == kLetters.npos) return Fault("an escape sequence");
    *(*to)++ = kMeanings[letter];
    at_ += 2;
    return absl::OkStatus();
  }

  // Twelve characters of escapes never become more than four bytes: the text only shrinks.
  absl::Status ReadUnicodeEscape(char** to) {
    uint32_t code_point = CodeUnit(at_);
    size_t length = 6;
    if (code_point >= 0xd800 && code_point <= 0xdbff) {
      const uint32_t low = Left() < 12 ? kNoCodeUnit : CodeUnit(at_ + 6);
      if (low < 0xdc00 || low > 0xdfff) return Fault("a pair of surrogates");
      code_point = 0x10000 + ((code_point - 0xd800) << 10) + (low - 0xdc00);
      length = 12;
    } else if (code_point >= 0xdc00 && code_point <= 0xdfff) {
      return Fault("a pair of surrogates");
    }
    if (code_point == kNoCodeUnit) return Fault("\\u and four hexadecimal digits");
    *to = PutUtf8(code_point, *to);
    at_ += length;
    return absl::OkStatus();
  }

  static constexpr uint32_t kNoCodeUnit = 0xffffffff;
  // The value of the "\uXXXX" at `p`.
  uint32_t CodeUnit(const char* p) const {
    if (end_ - p < 6 || p[0] != '\\' || p[1] != 'u') return kNoCodeUnit;
    uint32_t value = 0;
    const auto [rest, error] = std::from_chars(p + 2, p + 6, value, 16);
    return error == std::errc() && rest == p + 6 ? value : kNoCodeUnit;
  }

  const JsonDocumentLimits& limits_;
  std::vector<Node>& nodes_;
  const char* const begin_;
  char* at_;
  char* const end_;
};

absl::StatusOr<JsonDocument> JsonDocument::Parse(std::string text,
                                                 const JsonDocumentLimits& limits) {
  if (text.size() > limits.max_bytes || text.size() > UINT32_MAX) {
    return InvalidArgument("JSON text has ", text.size(), " bytes, the limit is ",
                           limits.max_bytes);
  }
  JsonDocument document;
  document.text_ = std::move(text);
  VL2_RETURN_IF_ERROR(JsonReader(limits, &document).ReadAll());
  return document;
}

JsonKind JsonView::kind() const { return document_->nodes_[node_].kind; }

const char* JsonView::kind_name() const {
  switch (kind()) {
    case JsonKind::kNull:
      return "null";
    case JsonKind::kFalse:
    case JsonKind::kTrue:
      return "boolean";
    case JsonKind::kInteger:
    case JsonKind::kUnsigned:
    case JsonKind::kDouble:
      return "number";
    case JsonKind::kString:
      return "string";
    case JsonKind::kArray:
      return "array";
    case JsonKind::kObject:
      return "object";
  }
  return "";
}

double JsonView::Double() const {
  const JsonDocument::Node& node = document_->nodes_[node_];
  VL2_CHECK(is_number()) << kind_name();
  if (node.kind == JsonKind::kInteger) return static_cast<double>(node.integer);
  if (node.kind == JsonKind::kUnsigned) return static_cast<double>(node.natural);
  return node.real;
}

std::optional<int64_t> JsonView::Int64() const {
  const JsonDocument::Node& node = document_->nodes_[node_];
  VL2_CHECK(is_number()) << kind_name();
  if (node.kind == JsonKind::kInteger) return node.integer;
  if (node.kind == JsonKind::kUnsigned) return std::nullopt;
  constexpr double kLimit = 9223372036854775808.0;  // 2^63
  if (node.real < -kLimit || node.real >= kLimit || std::trunc(node.real) != node.real) {
    return std::nullopt;
  }
  return static_cast<int64_t>(node.real);
}

std::string_view JsonView::String() const {
  const JsonDocument::Node& node = document_->nodes_[node_];
  VL2_CHECK(is_string()) << kind_name();
  return std::string_view(document_->text_).substr(node.offset, node.size);
}

size_t JsonView::size() const {
  return is_array() || is_object() ? document_->nodes_[node_].size : 0;
}

std::optional<JsonView> JsonView::Find(std::string_view key) const {
  if (!is_object()) return std::nullopt;
  std::optional<JsonView> found;
  const Range entries = Elements();
  for (Iterator it = entries.begin(); it != entries.end(); ++it) {
    const bool matches = (*it).String() == key;
    ++it;
    if (matches) found = *it;
  }
  if (found && found->is_null()) return std::nullopt;
  return found;
}

JsonView::Range JsonView::Elements() const {
  VL2_CHECK(is_array() || is_object()) << kind_name();
  return {Iterator(document_, node_ + 1), Iterator(document_, document_->nodes_[node_].end)};
}

JsonView::Iterator& JsonView::Iterator::operator++() {
  node_ = document_->nodes_[node_].end;
  return *this;
}

}  // namespace vl2
