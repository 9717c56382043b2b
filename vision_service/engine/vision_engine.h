// VisionEngine: pictures in, embeddings in prompt order out, as their tile rows complete.
//
// Decode workers turn files into tiles; one engine thread owns the encoder. Clients take turns, at
// decoding picture by picture, at encoding tile by tile, within a batch too; of one client's
// pictures the oldest goes first, so that its rows complete in order. Equal pictures share one
// encoding, in flight or cached, and go ahead with whichever of their clients is next. Equal tiles
// of different pictures are encoded once, too (tile_cache.h), and cost no turn. A picture that
// nobody waits for any more leaves the queue, and its decoding stops.
//
// Owns: its threads (joined by Stop or the destructor), the cache.
// Threading: thread-safe. Errors: RESOURCE_EXHAUSTED names the limit; UNAVAILABLE when stopping.
// Limits: VisionEngineOptions; held pictures and queued tiles are shared out (client_shares.h).
//   Outlives everything it gave out.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/base/mutex.h"
#include "vision_service/engine/client_shares.h"
#include "vision_service/engine/embedding_cache.h"
#include "vision_service/engine/encoding.h"
#include "vision_service/engine/held_images.h"
#include "vision_service/engine/side_work.h"
#include "vision_service/engine/tile_cache.h"
#include "vision_service/engine/turn_order.h"
#include "vision_service/image/preprocess.h"
#include "vision_service/model/vision_encoder.h"

namespace vl2 {

struct VisionEngineOptions {
  // One tile keeps a CPU busy; more at a time would only delay the first rows.
  int max_batch_tiles = 1;
  int num_decode_threads = 2;  // also how many pictures are in memory as pixels
  int64_t max_queued_tiles = 512;
  int64_t max_held_images = 256;
  int64_t max_held_bytes = int64_t{512} << 20;    // of files
  int64_t cache_bytes = int64_t{512} << 20;       // of images' embeddings; 0: none
  int64_t tile_cache_bytes = int64_t{512} << 20;  // of tiles' embeddings; 0: none
  // Decoded bytes (ImageInfo's) of the pictures of one request, and of all that are being decoded:
  // a picture waits for room.
  int64_t max_request_decoded_bytes = int64_t{1} << 30;
  int64_t max_decoding_bytes = int64_t{2} << 30;
  // Processor time for decoding and cutting one picture; 0: no limit.
  int64_t max_decode_cpu_ms = 2000;
  // Whether a blank tile is encoded at the start, so that tiles_per_second is known before the
  // first image comes.
  bool calibrate = false;
  // Called when an image's encoding has ended well, by the engine's thread; must be short.
  std::function<void(const EncodingTimings&)> on_encoded = {};
  ImageLimits image_limits;

  absl::Status Validate() const;
};

struct VisionEngineSnapshot {
  double tiles_per_second = 0;  // while it works; 0: it has not yet
  // Tiles of images that were asked for, by what came of it: of images that are encoded, when they
  // are cut.
  int64_t num_tiles_to_encode = 0;
  // From a cache, or shared with what is being encoded or waits for it.
  int64_t num_tiles_reused = 0;
  int64_t num_tiles_refused = 0;
  int64_t num_queued_tiles = 0;
  int64_t num_held_images = 0;
  int64_t held_bytes = 0;
  int64_t cache_bytes = 0;
  int64_t tile_cache_bytes = 0;
  int64_t num_encodings = 0;  // in flight
  int64_t num_clients = 0;    // that hold pictures
  int64_t num_waiting_headers = 0;
  int64_t num_waiting_decodes = 0;
  int64_t num_cut_tiles = 0;  // decoded and not taken by the encoder yet
  // Whether decoders, encoder have something to do: then the counts of what they have done, below,
  // stand still for as long only as one decoding or one batch takes.
  bool has_decodes = false;
  bool has_batches = false;
  int64_t decoding_bytes = 0;     // of pictures that are being decoded and cut
  int64_t num_encoded_tiles = 0;  // since the start, as all below
  int64_t num_decodes = 0;        // that have ended, those that failed among them
  int64_t num_batches = 0;        // of tiles, encoded and told to those that wait
  int64_t num_cache_hits = 0;
  int64_t num_misses = 0;
  int64_t num_shared = 0;  // requests that joined an encoding in flight
  // Of the tiles that were cut: known, equal to one that was not encoded yet, or neither.
  int64_t num_tile_cache_hits = 0;
  int64_t num_tiles_shared = 0;
  int64_t num_tile_cache_misses = 0;
  int64_t num_cancelled = 0;
};

class VisionEngine;

// One party's interest in an encoding; leaves it when destroyed. Threading: thread-safe.
class EncodeSubscription {
 public:
  ~EncodeSubscription();
  // Embeddings [0, num_ready()) are final and may be read through embeddings().
  int64_t num_ready() const { return encoding_->num_ready.load(std::memory_order_acquire); }
  ConstHostMatrix embeddings() const { return encoding_->assembler.embeddings(); }
  int num_encoded_tiles() const { return encoding_->num_encoded_tiles; }
  int num_tiles() const { return encoding_->job.plan.num_tiles; }
  bool from_cache() const { return from_cache_; }
  // Tiles so far that were not encoded for this party.
  int num_reused_tiles() const;
  // Of the call that began the picture; null: that was not traced.
  const std::shared_ptr<EncodingTimeline>& timeline() const { return encoding_->job.timeline; }
  // Whether it failed; OK while under way.
  absl::Status status() const;
  EncodingTimings timings() const;

 private:
  friend class VisionEngine;
  EncodeSubscription(VisionEngine& engine, std::shared_ptr<Encoding> encoding,
                     std::string client_id, bool from_cache, bool joined,
                     std::function<void()> on_progress)
      : engine_(engine),
        encoding_(std::move(encoding)),
        client_id_(std::move(client_id)),
        from_cache_(from_cache),
        joined_(joined),
        on_progress_(std::move(on_progress)) {}
  VisionEngine& engine_;
  const std::shared_ptr<Encoding> encoding_;
  const std::string client_id_;
  const bool from_cache_;
  const bool joined_;  // another party began it
  const std::function<void()> on_progress_;
};

class VisionEngine {
 public:
  // `encoder` outlives this and is used by the engine thread alone from now on.
  static absl::StatusOr<std::unique_ptr<VisionEngine>> Start(const VisionEngineOptions& options,
                                                             const ImageProcessorConfig& config,
                                                             VisionEncoder& encoder);
  ~VisionEngine();

  // Room for one more picture of the client, or RESOURCE_EXHAUSTED.
  absl::StatusOr<std::unique_ptr<HeldImage>> Hold(const std::string& client_id = {}) {
    return held_images_.Hold(client_id);
  }
  // Runs something short, a header's reading, beside all else; see side_work.h.
  void RunAside(const std::string& client_id, std::function<void()> job) {
    side_work_.Post(client_id, std::move(job));
  }

  // Joins or begins the encoding of job.content_key. `on_progress` is called when a tile is done
  // and when the encoding ends, by the engine's threads, possibly once more after the subscription
  // has gone; it must not block.
  absl::StatusOr<std::shared_ptr<EncodeSubscription>> Encode(const EncodeJob& job,
                                                             std::function<void()> on_progress);

  bool IsCached(const std::string& content_key) const;
  const ImagePreprocessor& preprocessor() const { return preprocessor_; }
  const VisionEngineOptions& options() const { return options_; }
  int64_t hidden() const { return hidden_; }
  VisionEngineSnapshot snapshot() const;

  // Ends all encodings with UNAVAILABLE and joins the threads.
  void Stop();

 private:
  friend class EncodeSubscription;
  // A place in an image that a tile's embeddings fill.
  struct TilePlace {
    std::shared_ptr<Encoding> encoding;
    int index = 0;
  };
  struct TakenTile {
    Tile tile;
    TileKey key;
    std::vector<TilePlace> places;  // the first is whose turn it was; the others show the same
  };
  struct ReusedTile {
    TilePlace place;
    TileEmbeddings embeddings;
  };
  struct Batch {
    std::vector<TakenTile> to_encode;
    std::vector<ReusedTile> reused;
    bool empty() const { return to_encode.empty() && reused.empty(); }
  };
  using Subscribers = std::vector<std::weak_ptr<EncodeSubscription>>;

  VisionEngine(const VisionEngineOptions& options, const ImageProcessorConfig& config,
               VisionEncoder& encoder);
  void RunDecoder();
  // The picture to decode next, if there is one and its bytes have room; takes them.
  std::shared_ptr<Encoding> TakeForDecoding() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunEncoder();
  // Decodes and cuts one picture, part by part.
  absl::Status CutTiles(const std::shared_ptr<Encoding>& encoding);
  // Queues the tiles of a part, those that must be encoded; gives back the others.
  std::vector<ReusedTile> QueueTiles(const std::shared_ptr<Encoding>& encoding,
                                     std::vector<CutTile> part)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether an equal tile waits for the encoder or is in its hands.
  bool IsUnderWay(const TileKey& key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Batch TakeTiles() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EncodeTiles(const std::vector<TakenTile>& taken);
  // Puts a tile's embeddings into the image and tells those who wait for it.
  void Deliver(const TilePlace& place, ConstHostMatrix embeddings, bool reused);
  void Deliver(const ReusedTile& tile);
  void TakeSpeed(int64_t num_tiles, double seconds);
  // Before the threads start.
  void Calibrate();
  void End(const std::shared_ptr<Encoding>& encoding, const absl::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Leave(Encoding& encoding, const std::string& client_id);
  // Drops the turns of a client that has nothing in flight.
  void ForgetIfIdle(const std::string& client_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const VisionEngineOptions options_;
  const ImagePreprocessor preprocessor_;
  const PixelNormalizer normalizer_;
  VisionEncoder& encoder_;
  const int64_t hidden_;
  // Of the engine thread.
  GrowingMatrix out_memory_;
  GrowingHostMatrix host_memory_;
  HeldImages held_images_;

  mutable Mutex mutex_;
  CondVar decode_changed_, tiles_changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<std::shared_ptr<Encoding>> to_decode_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<Encoding>> order_ ABSL_GUARDED_BY(mutex_);  // in flight, oldest first
  std::unordered_map<std::string, std::shared_ptr<Encoding>> in_flight_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<const Encoding*, Subscribers> subscribers_ ABSL_GUARDED_BY(mutex_);
  ClientShares queued_tiles_ ABSL_GUARDED_BY(mutex_);
  TurnOrder decode_turns_ ABSL_GUARDED_BY(mutex_);
  TurnOrder tile_turns_ ABSL_GUARDED_BY(mutex_);
  EmbeddingCache cache_ ABSL_GUARDED_BY(mutex_);
  TileCache tile_cache_ ABSL_GUARDED_BY(mutex_);
  bool in_batch_ ABSL_GUARDED_BY(mutex_) = false;  // the encoder has tiles in hand
  std::vector<TileKey> keys_in_hand_ ABSL_GUARDED_BY(mutex_);
  VisionEngineSnapshot snapshot_ ABSL_GUARDED_BY(mutex_);  // what is counted nowhere else
  std::vector<std::thread> threads_;
  SideWork side_work_;
};

}  // namespace vl2
