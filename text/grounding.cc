#include "text/grounding.h"

#include <algorithm>
#include <utility>

namespace vl2 {
namespace {

constexpr std::string_view kRef = "<|ref|>";
constexpr std::string_view kEndRef = "<|/ref|>";
constexpr std::string_view kDet = "<|det|>";
constexpr std::string_view kEndDet = "<|/det|>";
constexpr std::string_view kForbiddenInLabel[] = {kRef, kDet, kEndDet, "<|grounding|>"};
constexpr int kMaxCoordinate = 999;

bool IsJsonSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The length of the longest end of `text` that "<|ref|>" starts with (and is longer than).
size_t PossibleStart(std::string_view text) {
  for (size_t length = std::min(text.size(), kRef.size() - 1); length > 0; --length) {
    if (text.ends_with(kRef.substr(0, length))) return length;
  }
  return 0;
}

void AddText(std::string_view text, std::vector<GroundingEvent>& events) {
  if (text.empty()) return;
  if (events.empty() || !std::holds_alternative<std::string>(events.back())) {
    events.emplace_back(std::string());
  }
  std::get<std::string>(events.back()) += text;
}

}  // namespace

PixelBox ToPixels(const GroundingBox& box, int64_t image_width, int64_t image_height) {
  const auto scale = [](int value, int64_t side) {
    return value / static_cast<double>(kMaxCoordinate) * static_cast<double>(side);
  };
  return {scale(box.x1, image_width), scale(box.y1, image_height), scale(box.x2, image_width),
          scale(box.y2, image_height)};
}

std::vector<GroundingEvent> GroundingParser::Push(std::string_view text) {
  std::vector<GroundingEvent> events;
  held_ += text;
  size_t done = 0;  // bytes of held_ that are in events
  while (true) {
    if (state_ == State::kText) {
      const size_t start = held_.find(kRef, done);
      const std::string_view rest = std::string_view(held_).substr(done);
      const size_t num_text =
          start == std::string::npos ? rest.size() - PossibleStart(rest) : start - done;
      AddText(rest.substr(0, num_text), events);
      done += num_text;
      if (start == std::string::npos) break;
      StartGroup();
    }
    const std::string_view group = std::string_view(held_).substr(done);
    Verdict verdict = Verdict::kOpen;
    while (verdict == Verdict::kOpen && cursor_ < group.size()) {
      ++cursor_;
      verdict = cursor_ > kMaxGroupBytes ? Verdict::kBad : Step(group.substr(0, cursor_));
    }
    if (verdict == Verdict::kOpen) break;
    state_ = State::kText;
    if (verdict == Verdict::kBad) {
      // A group may yet begin behind this tag.
      AddText(kRef, events);
      done += kRef.size();
    } else {
      events.emplace_back(
          BoxGroup{std::move(label_), std::move(boxes_), std::string(group.substr(0, cursor_))});
      done += cursor_;
    }
  }
  held_.erase(0, done);
  return events;
}

std::vector<GroundingEvent> GroundingParser::Finish() {
  std::vector<GroundingEvent> events;
  // An unfinished group may hold another tag, but no whole group: it would have ended this one.
  AddText(held_, events);
  *this = GroundingParser();
  return events;
}

void GroundingParser::StartGroup() {
  state_ = State::kLabel;
  cursor_ = kRef.size();
  boxes_.clear();
  numbers_.clear();
}

GroundingParser::Verdict GroundingParser::Step(std::string_view read) {
  const char c = read.back();
  const auto go_to = [&](State state) {
    state_ = state;
    return Verdict::kOpen;
  };
  switch (state_) {
    case State::kText:
      break;
    case State::kLabel:
      return StepLabel(read.substr(kRef.size()));
    case State::kDetTag: {
      const Verdict verdict = StepTag(c, kDet, Verdict::kOpen);
      if (verdict == Verdict::kOpen && tag_bytes_ == kDet.size()) state_ = State::kListOpen;
      return verdict;
    }
    case State::kListOpen:
      if (IsJsonSpace(c)) return Verdict::kOpen;
      if (c == '[') return go_to(State::kBoxOpen);
      break;
    case State::kBoxOpen:
      if (IsJsonSpace(c)) return Verdict::kOpen;
      if (c == '[' && boxes_.size() < kMaxBoxes) return go_to(State::kNumber);
      break;
    case State::kNumber:
      if (IsJsonSpace(c)) return Verdict::kOpen;
      if (!IsDigit(c) || numbers_.size() == 4) break;
      numbers_.push_back(c - '0');
      return go_to(State::kDigits);
    case State::kDigits:
      if (!IsDigit(c)) return StepNumberEnd(c);
      if (numbers_.back() == 0 || numbers_.back() > kMaxCoordinate / 10) break;
      numbers_.back() = numbers_.back() * 10 + (c - '0');
      return Verdict::kOpen;
    case State::kNumberEnd:
      return StepNumberEnd(c);
    case State::kBoxEnd:
      if (IsJsonSpace(c)) return Verdict::kOpen;
      if (c == ',') return go_to(State::kBoxOpen);
      if (c == ']') {
        tag_bytes_ = 0;
        return go_to(State::kEndTag);
      }
      break;
    case State::kEndTag:
      if (tag_bytes_ == 0 && IsJsonSpace(c)) return Verdict::kOpen;
      return StepTag(c, kEndDet, Verdict::kComplete);
  }
  return Verdict::kBad;
}

// Looks at the end of what has been read, since tags are only known by their last byte.
GroundingParser::Verdict GroundingParser::StepLabel(std::string_view read) {
  if (read.ends_with(kEndRef)) {
    if (read.size() > kMaxLabelBytes + kEndRef.size()) return Verdict::kBad;
    label_ = read.substr(0, read.size() - kEndRef.size());
    tag_bytes_ = 0;
    state_ = State::kDetTag;
    return Verdict::kOpen;
  }
  if (read.size() >= kMaxLabelBytes + kEndRef.size()) return Verdict::kBad;
  if (read.back() != '>') return Verdict::kOpen;
  for (const std::string_view tag : kForbiddenInLabel) {
    if (read.ends_with(tag)) return Verdict::kBad;
  }
  return Verdict::kOpen;
}

GroundingParser::Verdict GroundingParser::StepNumberEnd(char c) {
  if (IsJsonSpace(c)) {
    state_ = State::kNumberEnd;
    return Verdict::kOpen;
  }
  if (c == ',') {
    state_ = State::kNumber;
    return Verdict::kOpen;
  }
  if (c != ']' || !CloseBox()) return Verdict::kBad;
  state_ = State::kBoxEnd;
  return Verdict::kOpen;
}

GroundingParser::Verdict GroundingParser::StepTag(char c, std::string_view tag,
                                                  Verdict after_last) {
  if (c != tag[tag_bytes_]) return Verdict::kBad;
  return ++tag_bytes_ == tag.size() ? after_last : Verdict::kOpen;
}

bool GroundingParser::CloseBox() {
  if (numbers_.size() != 4) return false;
  const GroundingBox box{numbers_[0], numbers_[1], numbers_[2], numbers_[3]};
  numbers_.clear();
  if (box.x2 < box.x1 || box.y2 < box.y1) return false;
  boxes_.push_back(box);
  return true;
}

}  // namespace vl2
