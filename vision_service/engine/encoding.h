// Encoding: one picture on its way through the vision engine, and its embeddings afterwards.
//
// Owns: the assembled embeddings; tiles and file bytes only while they are needed.
// Threading: rows below num_ready() may be read by any thread; the rest belongs to the engine.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "runtime/base/mutex.h"
#include "vision_service/engine/encoding_timeline.h"
#include "vision_service/engine/tile_cache.h"
#include "vision_service/image/preprocess.h"
#include "vision_service/model/tile_assembler.h"

namespace vl2 {

// A complete file; counted among the held bytes while its HeldImage lives.
using ImageBytes = std::shared_ptr<const std::string>;

struct EncodeJob {
  ImageBytes bytes;
  DecodePolicy policy;
  Tiling tiling;
  TilePlan plan;  // ImagePreprocessor::Plan of the above
  std::string content_key;
  int64_t decoded_bytes = 0;  // ImageInfo's
  std::string client_id;      // whose turn it takes (client_name.h)
  int priority = 0;           // the highest goes first
  // Null: the call is not traced. The picture's is that of the call that began it.
  std::shared_ptr<EncodingTimeline> timeline;
};

struct EncodingTimings {
  double decode_ms = 0;
  double tiling_ms = 0;
  double queue_ms = 0;       // from the first tile's being ready to the encoder's taking it
  double encode_ms = 0;      // from the first tile's start to the last tile's end
  int num_reused_tiles = 0;  // found in the cache of tiles, or encoded for an equal one
};

// Cut, not taken by the encoder yet.
struct CutTile {
  int index = 0;
  Tile tile;
  TileKey key;  // empty: tiles are not cached
};

struct Encoding {
  using Clock = std::chrono::steady_clock;

  Encoding(const EncodeJob& job, TileAssembler assembler)
      : job(job), assembler(std::move(assembler)) {}

  EncodeJob job;  // bytes are dropped after decoding; client_id is who began it
  // Tiles come from the engine thread and, if cached, from decode workers; taken before the
  // engine's mutex.
  Mutex delivery_mutex;
  // Written with delivery_mutex held. Final below num_ready.
  TileAssembler assembler;
  std::atomic<int64_t> num_ready{0};
  std::atomic<int> num_encoded_tiles{0};
  // Nobody waits any more: decoding stops. Set with `ended`.
  std::atomic<bool> abandoned{false};

  // Guarded by the engine's mutex.
  std::deque<CutTile> tiles;
  int num_taken_tiles = 0;
  // Subscriptions by client; the picture goes ahead when it is any of these clients' turn.
  std::map<std::string, int> clients;
  int priority = 0;    // the highest of those who asked for it
  bool ended = false;  // done, failed, or left by all
  absl::Status status;
  EncodingTimings timings;
  Clock::time_point first_cut, first_taken;

  int64_t num_bytes() const {
    const ConstHostMatrix rows = assembler.embeddings();
    return rows.rows * rows.cols * static_cast<int64_t>(sizeof(float));
  }
};

}  // namespace vl2
