// AddEncodingSpans: the spans of an Encode call, from its picture's timeline.
//
//   decode                the file to pixels
//   tile                  pixels to tiles
//   encode global view    {tiles, wait_ms}
//   encode row            one tile row, {row, tiles, wait_ms}: from its first tile's start to its
//                         last tile's end; it waited since its tiles were cut
#pragma once

#include "runtime/trace/span.h"
#include "vision_service/engine/encoding_timeline.h"

namespace vl2 {

// Below `call`, which has not ended. What had not ended by `ended` is left out.
void AddEncodingSpans(const EncodingTimeline& timeline, int tiles_wide,
                      EncodingTimeline::Clock::time_point ended, const Span& call);

}  // namespace vl2
