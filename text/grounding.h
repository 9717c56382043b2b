// GroundingParser: finds box groups in an answer while it streams.
//
//   group  = "<|ref|>" label "<|/ref|><|det|>" boxes "<|/det|>"
//   boxes  = "[" box { "," box } "]"
//   box    = "[" number "," number "," number "," number "]"      x1, y1, x2, y2
//   number = an integer 0..999 without leading zeros
//
// White space (space, tab, line ends) may stand between the parts of `boxes`. A label holds no
// grounding token. x1 <= x2 and y1 <= y2. Whatever does not follow this, or goes beyond a limit, is
// text and comes out verbatim: nothing is dropped, repaired or guessed. The same text gives the
// same events however it is cut into pieces (text that is released in parts counts as one).
//
// Owns: what is held back: a possible start of "<|ref|>", or an open group (at most
// kMaxGroupBytes). Threading: one stream, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace vl2 {

// Corners in thousandths of the original image's sides: 0 is the left or top edge, 999 the right or
// bottom one.
struct GroundingBox {
  int x1 = 0, y1 = 0, x2 = 0, y2 = 0;

  friend bool operator==(const GroundingBox&, const GroundingBox&) = default;
};

struct PixelBox {
  double x1 = 0, y1 = 0, x2 = 0, y2 = 0;
};

// value / 999 * side, not rounded.
PixelBox ToPixels(const GroundingBox& box, int64_t image_width, int64_t image_height);

struct BoxGroup {
  std::string label;
  std::vector<GroundingBox> boxes;  // at least one
  std::string source;               // the group as it was written

  friend bool operator==(const BoxGroup&, const BoxGroup&) = default;
};

// Text, never empty, or a group.
using GroundingEvent = std::variant<std::string, BoxGroup>;

class GroundingParser {
 public:
  static constexpr size_t kMaxLabelBytes = 1024;
  static constexpr size_t kMaxBoxes = 256;
  static constexpr size_t kMaxGroupBytes = 16 << 10;

  // What `text` completes. At most one text stands between two groups.
  std::vector<GroundingEvent> Push(std::string_view text);

  // The end of the answer: an open group is text. The parser is as new afterwards.
  std::vector<GroundingEvent> Finish();

  size_t held_bytes() const { return held_.size(); }

 private:
  enum class State {
    kText,
    kLabel,
    kDetTag,     // the rest of "<|det|>"
    kListOpen,   // "["
    kBoxOpen,    // "[" of a box
    kNumber,     // first digit
    kDigits,     // further digits, "," or "]"
    kNumberEnd,  // "," or "]" after white space
    kBoxEnd,     // "," before another box, or "]"
    kEndTag,     // white space, then the rest of "<|/det|>"
  };
  enum class Verdict { kOpen, kBad, kComplete };

  // `read` is the group up to and with the character to look at.
  Verdict Step(std::string_view read);
  Verdict StepLabel(std::string_view read);
  Verdict StepNumberEnd(char c);
  Verdict StepTag(char c, std::string_view tag, Verdict after_last);
  bool CloseBox();
  void StartGroup();

  State state_ = State::kText;
  std::string held_;          // from the start of the open group, or of a possible "<|ref|>"
  size_t cursor_ = 0;         // bytes of the open group that state_ has seen
  std::string label_;         // once it is closed
  size_t tag_bytes_ = 0;      // of the tag being read
  std::vector<int> numbers_;  // of the open box
  std::vector<GroundingBox> boxes_;
};

}  // namespace vl2
