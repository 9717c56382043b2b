#include "vision_service/service/encode_spans.h"

#include <algorithm>
#include <span>

namespace vl2 {
namespace {

using Clock = EncodingTimeline::Clock;
using Period = EncodingTimeline::Period;
using TileTimes = EncodingTimeline::TileTimes;

void AddStage(std::string_view name, const Period& period, Clock::time_point ended,
              const Span& call) {
  if (!period.ended() || period.end > ended) return;
  call.point().Begin(name, SpanKind::kInternal, period.begin).End(period.end);
}

// `row` below 0 is the global view.
void AddRow(int row, std::span<const TileTimes> tiles, Clock::time_point ended, const Span& call) {
  Clock::time_point begin = Clock::time_point::max();
  Clock::time_point end;
  for (const TileTimes& tile : tiles) {
    if (!tile.encode.ended()) return;
    begin = std::min(begin, tile.encode.begin);
    end = std::max(end, tile.encode.end);
  }
  if (end > ended) return;
  Span span =
      call.point().Begin(row < 0 ? "encode global view" : "encode row", SpanKind::kInternal, begin);
  if (row >= 0) span.Set("vl2.row", row);
  span.Set("vl2.tiles", tiles.size());
  span.Set("vl2.wait_ms",
           std::chrono::duration<double, std::milli>(begin - tiles.front().cut).count());
  span.End(end);
}

}  // namespace

void AddEncodingSpans(const EncodingTimeline& timeline, int tiles_wide, Clock::time_point ended,
                      const Span& call) {
  const EncodingTimeline::Times times = timeline.times();
  AddStage("decode", times.decode, ended, call);
  AddStage("tile", times.tile, ended, call);
  const std::span<const TileTimes> tiles(times.tiles);
  if (tiles.empty()) return;
  AddRow(-1, tiles.first(1), ended, call);
  const auto wide = static_cast<size_t>(tiles_wide);
  int row = 0;
  for (size_t first = 1; first + wide <= tiles.size(); first += wide) {
    AddRow(row++, tiles.subspan(first, wide), ended, call);
  }
}

}  // namespace vl2
