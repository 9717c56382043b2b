#include "text/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "runtime/base/status.h"
#include "text/utf8.h"

namespace vl2 {

absl::StatusOr<StopMatcher> StopMatcher::Create(std::vector<std::string> stops) {
  if (stops.size() > kMaxStops) {
    return InvalidArgument("stop: ", stops.size(), " strings, the limit is ", kMaxStops);
  }
  StopMatcher matcher;
  for (std::string& stop : stops) {
    if (stop.empty() || stop.size() > kMaxStopBytes) {
      return InvalidArgument("stop: a string of ", stop.size(), " bytes; 1 to ", kMaxStopBytes,
                             " are allowed");
    }
    if (!IsValidUtf8(stop)) return InvalidArgument("stop: a string is not valid UTF-8");
    Pattern pattern{.text = std::move(stop), .border = {0}};
    uint32_t border = 0;
    for (size_t i = 1; i < pattern.text.size(); ++i) {
      while (border > 0 && pattern.text[i] != pattern.text[border]) {
        border = pattern.border[border - 1];
      }
      if (pattern.text[i] == pattern.text[border]) ++border;
      pattern.border.push_back(border);
    }
    matcher.patterns_.push_back(std::move(pattern));
  }
  return matcher;
}

// True when the pattern is complete.
bool StopMatcher::Advance(Pattern& pattern, char byte) {
  while (pattern.matched > 0 && pattern.text[pattern.matched] != byte) {
    pattern.matched = pattern.border[pattern.matched - 1];
  }
  if (pattern.text[pattern.matched] == byte) ++pattern.matched;
  return pattern.matched == pattern.text.size();
}

std::string StopMatcher::Push(std::string_view text) {
  if (stop_) return {};
  const size_t num_held = held_.size();
  held_ += text;
  for (size_t i = 0; i < text.size(); ++i) {
    for (size_t p = 0; p < patterns_.size(); ++p) {
      if (!Advance(patterns_[p], text[i])) continue;
      if (!stop_ || patterns_[p].text.size() > patterns_[*stop_].text.size()) stop_ = p;
    }
    if (stop_) {
      const size_t end = num_held + i + 1;
      return std::exchange(held_, {}).substr(0, end - patterns_[*stop_].text.size());
    }
  }
  size_t keep = 0;
  for (const Pattern& pattern : patterns_) keep = std::max<size_t>(keep, pattern.matched);
  std::string released = held_.substr(0, held_.size() - keep);
  held_.erase(0, released.size());
  return released;
}

std::string StopMatcher::Finish() { return std::exchange(held_, {}); }

}  // namespace vl2
