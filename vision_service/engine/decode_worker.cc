// VisionEngine's decode workers: files to tiles.
#include <algorithm>
#include <utility>

#include "runtime/base/status.h"
#include "vision_service/engine/next_turn.h"
#include "vision_service/engine/vision_engine.h"

namespace vl2 {
namespace {

using Clock = Encoding::Clock;

double Milliseconds(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

}  // namespace

std::shared_ptr<Encoding> VisionEngine::TakeForDecoding() {
  const Turn next =
      NextTurn(to_decode_, decode_turns_, [](const Encoding& candidate) { return true; });
  // Whose turn it is waits for room, and the others behind: small pictures would keep a large one
  // out for ever. What is being decoded ends soon.
  if (next.encoding == nullptr ||
      snapshot_.decoding_bytes + next.encoding->job.decoded_bytes > options_.max_decoding_bytes) {
    return nullptr;
  }
  decode_turns_.Serve(next.client);
  std::erase(to_decode_, next.encoding);
  snapshot_.decoding_bytes += next.encoding->job.decoded_bytes;
  return next.encoding;
}

void VisionEngine::RunDecoder() {
  for (;;) {
    std::shared_ptr<Encoding> encoding;
    {
      MutexLock lock(&mutex_);
      while (!stopping_ && (encoding = TakeForDecoding()) == nullptr) decode_changed_.Wait(&mutex_);
      if (stopping_) return;
    }
    const absl::Status status = CutTiles(encoding);
    Subscribers subscribers;
    {
      MutexLock lock(&mutex_);
      snapshot_.decoding_bytes -= encoding->job.decoded_bytes;
      ++snapshot_.num_decodes;
      decode_changed_.NotifyAll();
      if (status.ok() || encoding->ended) continue;
      subscribers = subscribers_[encoding.get()];
      End(encoding, status);
    }
    for (const auto& weak : subscribers) {
      if (const auto subscription = weak.lock()) subscription->on_progress_();
    }
  }
}

absl::Status VisionEngine::CutTiles(const std::shared_ptr<Encoding>& encoding) {
  ImageBytes bytes;
  {
    MutexLock lock(&mutex_);
    if (encoding->ended) return absl::OkStatus();
    bytes = encoding->job.bytes;
  }
  const auto begin = Clock::now();
  DecodeMeter meter(options_.max_decode_cpu_ms, &encoding->abandoned);
  VL2_ASSIGN_OR_RETURN(TileStream stream, preprocessor_.Tiles(*bytes, encoding->job.policy,
                                                              encoding->job.tiling, meter));
  if (stream.plan().num_tiles != encoding->job.plan.num_tiles) {
    return InvalidArgument("the picture has ", stream.plan().num_tiles, " tiles, its header said ",
                           encoding->job.plan.num_tiles);
  }
  bytes.reset();
  const auto decoded = Clock::now();
  const double decode_ms = Milliseconds(begin, decoded);
  EncodingTimeline* const timeline = encoding->job.timeline.get();
  if (timeline != nullptr) timeline->Decoded(begin, decoded);
  int index = 0;
  for (;;) {
    VL2_RETURN_IF_ERROR(meter.Check());
    const auto cut_begin = Clock::now();
    std::vector<CutTile> part;
    for (Tile& tile : stream.Next()) {
      TileKey key = options_.tile_cache_bytes > 0 ? MakeTileKey(tile) : TileKey();
      part.push_back({index++, std::move(tile), std::move(key)});
    }
    std::vector<ReusedTile> reused;
    {
      MutexLock lock(&mutex_);
      if (encoding->ended || part.empty()) return absl::OkStatus();
      const auto now = Clock::now();
      encoding->job.bytes.reset();
      encoding->timings.decode_ms = decode_ms;
      encoding->timings.tiling_ms += Milliseconds(cut_begin, now);
      if (part.front().index == 0) encoding->first_cut = now;
      if (timeline != nullptr) {
        for (const CutTile& cut : part) timeline->Cut(cut.index, cut_begin, now);
      }
      reused = QueueTiles(encoding, std::move(part));
    }
    for (const ReusedTile& tile : reused) Deliver(tile);
  }
}

std::vector<VisionEngine::ReusedTile> VisionEngine::QueueTiles(
    const std::shared_ptr<Encoding>& encoding, std::vector<CutTile> part) {
  std::vector<ReusedTile> reused;
  for (CutTile& cut : part) {
    TileEmbeddings cached = cut.key.empty() ? nullptr : tile_cache_.Find(cut.key);
    if (cached != nullptr) {
      ++snapshot_.num_tile_cache_hits;
      ++snapshot_.num_tiles_reused;
      reused.push_back({{encoding, cut.index}, std::move(cached)});
      continue;
    }
    if (IsUnderWay(cut.key)) {
      ++snapshot_.num_tiles_shared;
      ++snapshot_.num_tiles_reused;
    } else {
      ++snapshot_.num_tile_cache_misses;
      ++snapshot_.num_tiles_to_encode;
    }
    encoding->tiles.push_back(std::move(cut));
  }
  if (!encoding->tiles.empty()) tiles_changed_.NotifyOne();
  return reused;
}

bool VisionEngine::IsUnderWay(const TileKey& key) const {
  if (key.empty()) return false;
  if (std::ranges::find(keys_in_hand_, key) != keys_in_hand_.end()) return true;
  for (const auto& encoding : order_) {
    for (const CutTile& cut : encoding->tiles) {
      if (cut.key == key) return true;
    }
  }
  return false;
}

}  // namespace vl2
