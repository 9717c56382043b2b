#include "text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "runtime/base/status.h"
#include "text/utf8.h"

namespace vl2 {
namespace {

// What ByteLevel cuts by when "use_regex" is set: the pattern of the GPT-2 release.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Calls visit(range, is_match) for the matches of `pattern` and the gaps between them, in order;
// together they cover `text`. A gap is never empty, a match may be.
absl::Status VisitMatches(const Regex& pattern, std::string_view text, RegexScratch& scratch,
                          absl::FunctionRef<absl::Status(TextRange, bool)> visit) {
  size_t covered = 0;          // everything before it has been visited
  size_t start = 0;            // where to search
  bool after_a_match = false;  // an empty match right behind a match does not count
  TextRange match;
  while (start <= text.size()) {
    VL2_ASSIGN_OR_RETURN(const bool found, pattern.Find(text, start, scratch, &match));
    if (!found) break;
    if (match.begin == match.end && after_a_match && match.begin == covered) {
      if (start == text.size()) break;
      start += ReadUtf8(text.substr(start)).num_bytes;
      after_a_match = false;
      continue;
    }
    if (match.begin > covered) VL2_RETURN_IF_ERROR(visit({covered, match.begin}, false));
    VL2_RETURN_IF_ERROR(visit(match, true));
    covered = start = match.end;
    after_a_match = true;
  }
  if (covered < text.size()) return visit({covered, text.size()}, false);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::FromJson(const Json& json) {
  PreTokenizer pre_tokenizer;
  VL2_RETURN_IF_ERROR(pre_tokenizer.AddSteps(json, "pre_tokenizer"));
  if (!pre_tokenizer.has_byte_level_) {
    return InvalidArgument(
        "pre_tokenizer: no ByteLevel step; only byte-level tokenizers are "
        "supported");
  }
  return pre_tokenizer;
}

absl::Status PreTokenizer::AddPattern(absl::StatusOr<Regex> pattern, Behavior behavior, bool invert,
                                      std::string_view context) {
  if (!pattern.ok()) return Annotate(pattern.status(), context);
  steps_.push_back({.pattern = *std::move(pattern), .behavior = behavior, .invert = invert});
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddSplit(const JsonFields& fields) {
  static constexpr std::pair<std::string_view, Behavior> kBehaviors[] = {
      {"Isolated", Behavior::kIsolated},
      {"Removed", Behavior::kRemoved},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext},
      {"Contiguous", Behavior::kContiguous},
  };
  VL2_ASSIGN_OR_RETURN(const std::string name, fields.String("behavior", std::nullopt));
  VL2_ASSIGN_OR_RETURN(const bool invert, fields.Bool("invert", false));
  const auto* behavior = std::find_if(std::begin(kBehaviors), std::end(kBehaviors),
                                      [&](const auto& entry) { return entry.first == name; });
  if (behavior == std::end(kBehaviors)) {
    return InvalidArgument(fields.context(), ".behavior: ", name, " is not supported");
  }
  const Json* pattern = fields.Find("pattern");
  if (pattern != nullptr && pattern->is_object() && pattern->size() == 1) {
    const JsonFields kind(*pattern, fields.context() + ".pattern");
    if (kind.Has("Regex")) {
      VL2_ASSIGN_OR_RETURN(const std::string text, kind.String("Regex", std::nullopt));
      return AddPattern(Regex::Compile(text), behavior->second, invert, kind.context());
    }
    if (kind.Has("String")) {
      VL2_ASSIGN_OR_RETURN(const std::string text, kind.String("String", std::nullopt));
      return AddPattern(Regex::CompileLiteral(text), behavior->second, invert, kind.context());
    }
  }
  return InvalidArgument(fields.context(), ".pattern: expected one of Regex and String");
}

absl::Status PreTokenizer::AddSteps(const Json& json, const std::string& context) {
  const JsonFields fields(json, context);
  VL2_ASSIGN_OR_RETURN(const std::string type, fields.String("type", std::nullopt));
  if (has_byte_level_) {
    return InvalidArgument(context, ": a ", type, " step after ByteLevel is not supported");
  }
  if (steps_.size() + 2 > kMaxSteps) {
    return InvalidArgument(context, ": more than ", kMaxSteps, " steps");
  }
  if (type == "Sequence") {
    const Json* children = fields.Find("pretokenizers");
    if (children == nullptr || !children->is_array()) {
      return InvalidArgument(context, ".pretokenizers: expected a list");
    }
    for (size_t i = 0; i < children->size(); ++i) {
      VL2_RETURN_IF_ERROR(AddSteps((*children)[i], Cat(context, ".pretokenizers[", i, "]")));
    }
    return absl::OkStatus();
  }
  if (type == "Split") return AddSplit(fields);
  if (type == "Digits") {
    VL2_ASSIGN_OR_RETURN(const bool individual, fields.Bool("individual_digits", false));
    return AddPattern(Regex::Compile(R"(\p{N})"),
                      individual ? Behavior::kIsolated : Behavior::kContiguous, false, context);
  }
  if (type == "ByteLevel") {
    VL2_ASSIGN_OR_RETURN(const bool prefix_space, fields.Bool("add_prefix_space", true));
    VL2_ASSIGN_OR_RETURN(const bool use_regex, fields.Bool("use_regex", true));
    has_byte_level_ = true;
    if (prefix_space) steps_.emplace_back();
    if (!use_regex) return absl::OkStatus();
    return AddPattern(Regex::Compile(kGpt2Pattern), Behavior::kIsolated, false, context);
  }
  return InvalidArgument(context, ".type: ", type, " is not supported");
}

absl::Status PreTokenizer::Split(std::string_view text, RegexScratch& scratch,
                                 WordSink sink) const {
  return RunStep(0, text, scratch, sink);
}

// Depth first, so that no list of all pieces is ever held.
absl::Status PreTokenizer::RunStep(size_t index, std::string_view piece, RegexScratch& scratch,
                                   WordSink sink) const {
  if (piece.empty()) return absl::OkStatus();
  if (index == steps_.size()) return sink(piece);
  const Step& step = steps_[index];
  if (!step.pattern) {
    if (piece.front() == ' ') return RunStep(index + 1, piece, scratch, sink);
    return RunStep(index + 1, Cat(" ", piece), scratch, sink);
  }
  if (step.behavior != Behavior::kIsolated && step.behavior != Behavior::kRemoved) {
    return RunMerging(index, piece, scratch, sink);
  }
  return VisitMatches(*step.pattern, piece, scratch, [&](TextRange range, bool is_match) {
    if (step.behavior == Behavior::kRemoved && is_match != step.invert) return absl::OkStatus();
    return RunStep(index + 1, piece.substr(range.begin, range.end - range.begin), scratch, sink);
  });
}

// The behaviours that join a range with its neighbour.
absl::Status PreTokenizer::RunMerging(size_t index, std::string_view piece, RegexScratch& scratch,
                                      WordSink sink) const {
  struct Part {
    TextRange range;
    bool is_match;
  };
  const Step& step = steps_[index];
  std::vector<Part> parts;
  VL2_RETURN_IF_ERROR(
      VisitMatches(*step.pattern, piece, scratch, [&](TextRange range, bool is_match) {
        parts.push_back({range, is_match != step.invert});
        return absl::OkStatus();
      }));

  std::vector<TextRange> joined;
  const auto join = [&](const Part& part, bool joins) {
    if (joins && !joined.empty()) {
      joined.back().begin = std::min(joined.back().begin, part.range.begin);
      joined.back().end = std::max(joined.back().end, part.range.end);
    } else {
      joined.push_back(part.range);
    }
  };
  bool previous = false;
  switch (step.behavior) {
    case Behavior::kContiguous:
      for (const Part& part : parts) {
        join(part, part.is_match == previous);
        previous = part.is_match;
      }
      break;
    case Behavior::kMergedWithPrevious:
      for (const Part& part : parts) {
        join(part, part.is_match && !previous);
        previous = part.is_match;
      }
      break;
    default:  // kMergedWithNext: the same from the other end
      std::reverse(parts.begin(), parts.end());
      for (const Part& part : parts) {
        join(part, part.is_match && !previous);
        previous = part.is_match;
      }
      std::reverse(joined.begin(), joined.end());
      break;
  }
  for (const TextRange& range : joined) {
    VL2_RETURN_IF_ERROR(
        RunStep(index + 1, piece.substr(range.begin, range.end - range.begin), scratch, sink));
  }
  return absl::OkStatus();
}

}  // namespace vl2
