// Text of an answer: grounding syntax and stop strings. Input: one byte that seeds the cuts, one
// stop string up to a NUL, the answer. However the answer is cut, the outcome is that of the whole.
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include "runtime/base/check.h"
#include "text/grounding.h"
#include "text/stop_matcher.h"
#include "text/utf8.h"

namespace vl2 {
namespace {

using Events = std::vector<GroundingEvent>;

void Append(Events more, Events& events) {
  for (GroundingEvent& event : more) {
    auto* text = std::get_if<std::string>(&event);
    if (text != nullptr && !events.empty() && events.back().index() == 0) {
      std::get<std::string>(events.back()) += *text;
    } else {
      events.push_back(std::move(event));
    }
  }
}

struct Outcome {
  Events events;
  std::string before_stop;
  std::optional<size_t> stop;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome Run(const std::vector<std::string_view>& pieces, const std::string& stop) {
  Outcome outcome;
  GroundingParser parser;
  auto matcher = StopMatcher::Create({stop, "<|ref|>"});
  for (const std::string_view piece : pieces) {
    Append(parser.Push(piece), outcome.events);
    VL2_CHECK(parser.held_bytes() <= GroundingParser::kMaxGroupBytes) << parser.held_bytes();
    if (matcher.ok()) outcome.before_stop += matcher->Push(piece);
  }
  Append(parser.Finish(), outcome.events);
  if (matcher.ok()) {
    outcome.before_stop += matcher->Finish();
    outcome.stop = matcher->stop();
  }
  return outcome;
}

void CheckInput(std::string_view input) {
  if (input.empty()) return;
  std::minstd_rand random(static_cast<unsigned char>(input[0]) + 1u);
  input.remove_prefix(1);
  const size_t end = input.find('\0');
  const std::string stop(input.substr(0, end));
  const std::string_view answer = end == input.npos ? "" : input.substr(end + 1);

  const Outcome whole = Run({answer}, stop);
  std::vector<std::string_view> pieces;
  for (std::string_view rest = answer; !rest.empty();) {
    const size_t length = std::min<size_t>(rest.size(), 1 + random() % 12);
    pieces.push_back(rest.substr(0, length));
    rest.remove_prefix(length);
  }
  VL2_CHECK(Run(pieces, stop) == whole);

  std::string source;
  for (const GroundingEvent& event : whole.events) {
    if (const auto* group = std::get_if<BoxGroup>(&event)) {
      VL2_CHECK(!group->boxes.empty() && group->label.size() <= GroundingParser::kMaxLabelBytes);
      for (const GroundingBox& box : group->boxes) {
        VL2_CHECK(0 <= box.x1 && box.x1 <= box.x2 && box.x2 <= 999);
        VL2_CHECK(0 <= box.y1 && box.y1 <= box.y2 && box.y2 <= 999);
      }
      source += group->source;
    } else {
      source += std::get<std::string>(event);
    }
  }
  VL2_CHECK(source == answer);
  VL2_CHECK(answer.starts_with(whole.before_stop));
  if (!stop.empty() && stop.size() <= StopMatcher::kMaxStopBytes && IsValidUtf8(stop)) {
    VL2_CHECK(whole.before_stop.find(stop) == std::string::npos);
    VL2_CHECK(whole.stop || whole.before_stop == answer);
  }
}

}  // namespace
}  // namespace vl2

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vl2::CheckInput({reinterpret_cast<const char*>(data), size});
  return 0;
}
