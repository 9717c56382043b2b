#include "vision_service/engine/vision_engine.h"

#include <algorithm>
#include <utility>

#include "runtime/base/status.h"

namespace vl2 {
namespace {

using Clock = Encoding::Clock;

double Milliseconds(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

}  // namespace

absl::Status VisionEngineOptions::Validate() const {
  if (max_batch_tiles < 1 || max_batch_tiles > 64) {
    return InvalidArgument("max_batch_tiles ", max_batch_tiles, " is outside [1, 64]");
  }
  if (num_decode_threads < 1 || num_decode_threads > 64) {
    return InvalidArgument("num_decode_threads ", num_decode_threads, " is outside [1, 64]");
  }
  if (max_queued_tiles < 1 || max_held_images < 1 || max_held_bytes < 1 || cache_bytes < 0) {
    return InvalidArgument("max_queued_tiles ", max_queued_tiles, ", max_held_images ",
                           max_held_images, " and max_held_bytes ", max_held_bytes,
                           " must be at least 1, cache_bytes ", cache_bytes, " at least 0");
  }
  return image_limits.Validate();
}

HeldImage::~HeldImage() {
  MutexLock lock(&engine_.mutex_);
  --engine_.snapshot_.num_held_images;
  engine_.snapshot_.held_bytes -= static_cast<int64_t>(bytes_->size());
}

absl::Status HeldImage::Append(std::string_view chunk) {
  const size_t limit = engine_.options_.image_limits.max_bytes;
  if (chunk.size() > limit - std::min(limit, bytes_->size())) {
    return InvalidArgument("the file has more than ", bytes_->size() + chunk.size() - 1,
                           " bytes, the limit is ", limit);
  }
  {
    MutexLock lock(&engine_.mutex_);
    int64_t& held = engine_.snapshot_.held_bytes;
    if (held + static_cast<int64_t>(chunk.size()) > engine_.options_.max_held_bytes) {
      return absl::ResourceExhaustedError(
          Cat(held, " bytes of pictures are held, the limit max_held_bytes is ",
              engine_.options_.max_held_bytes));
    }
    held += static_cast<int64_t>(chunk.size());
  }
  bytes_->append(chunk);
  sha_.Update(chunk);
  return absl::OkStatus();
}

EncodeSubscription::~EncodeSubscription() { engine_.Leave(*encoding_); }

absl::Status EncodeSubscription::status() const {
  MutexLock lock(&engine_.mutex_);
  return encoding_->status;
}

EncodingTimings EncodeSubscription::timings() const {
  MutexLock lock(&engine_.mutex_);
  return encoding_->timings;
}

absl::StatusOr<std::unique_ptr<VisionEngine>> VisionEngine::Start(
    const VisionEngineOptions& options, const ImageProcessorConfig& config,
    VisionEncoder& encoder) {
  VL2_RETURN_IF_ERROR(options.Validate());
  if (config.geometry.tile_size != encoder.image_size()) {
    return InvalidArgument("tiles of ", config.geometry.tile_size, " pixels for a model of ",
                           encoder.image_size());
  }
  std::unique_ptr<VisionEngine> engine(new VisionEngine(options, config, encoder));
  VisionEngine* const raw = engine.get();
  engine->threads_.emplace_back([raw] { raw->RunEncoder(); });
  for (int i = 0; i < options.num_decode_threads; ++i) {
    engine->threads_.emplace_back([raw] { raw->RunDecoder(); });
  }
  return engine;
}

VisionEngine::VisionEngine(const VisionEngineOptions& options, const ImageProcessorConfig& config,
                           VisionEncoder& encoder)
    : options_(options),
      preprocessor_(config, options.image_limits),
      normalizer_(config.normalizer()),
      encoder_(encoder),
      hidden_(encoder.hidden()),
      cache_(options.cache_bytes) {}

VisionEngine::~VisionEngine() { Stop(); }

absl::StatusOr<std::unique_ptr<HeldImage>> VisionEngine::Hold() {
  MutexLock lock(&mutex_);
  if (snapshot_.num_held_images >= options_.max_held_images) {
    return absl::ResourceExhaustedError(Cat(snapshot_.num_held_images,
                                            " pictures are held, the limit max_held_images is ",
                                            options_.max_held_images));
  }
  ++snapshot_.num_held_images;
  return std::unique_ptr<HeldImage>(new HeldImage(*this));
}

absl::StatusOr<std::shared_ptr<EncodeSubscription>> VisionEngine::Encode(
    const EncodeJob& job, std::function<void()> on_progress) {
  MutexLock lock(&mutex_);
  if (stopping_) return absl::UnavailableError("the engine is stopping");
  std::shared_ptr<Encoding> encoding = cache_.Find(job.content_key);
  const bool from_cache = encoding != nullptr;
  if (from_cache) {
    ++snapshot_.num_cache_hits;
  } else if (const auto it = in_flight_.find(job.content_key); it != in_flight_.end()) {
    ++snapshot_.num_shared;
    encoding = it->second;
  } else {
    const int64_t num_tiles = job.plan.num_tiles;
    if (snapshot_.num_queued_tiles + num_tiles > options_.max_queued_tiles) {
      return absl::ResourceExhaustedError(
          Cat(snapshot_.num_queued_tiles, " tiles are queued and the picture has ", num_tiles,
              ", the limit max_queued_tiles is ", options_.max_queued_tiles));
    }
    snapshot_.num_queued_tiles += num_tiles;
    encoding = std::make_shared<Encoding>(
        job, TileAssembler(job.plan.tiles_wide, job.plan.tiles_high, encoder_.config().tile_side(),
                           encoder_.image_newline(), encoder_.view_seperator()));
    in_flight_[job.content_key] = encoding;
    order_.push_back(encoding);
    to_decode_.push_back(encoding);
    snapshot_.num_encodings = static_cast<int64_t>(order_.size());
    decode_changed_.NotifyOne();
  }
  ++encoding->num_subscribers;
  std::shared_ptr<EncodeSubscription> subscription(
      new EncodeSubscription(*this, encoding, from_cache, std::move(on_progress)));
  if (!encoding->ended) {
    Subscribers& subscribers = subscribers_[encoding.get()];
    std::erase_if(subscribers, [](const auto& weak) { return weak.expired(); });
    subscribers.push_back(subscription);
  }
  return subscription;
}

void VisionEngine::Leave(Encoding& encoding) {
  MutexLock lock(&mutex_);
  if (--encoding.num_subscribers > 0 || encoding.ended) return;
  ++snapshot_.num_cancelled;
  const auto it = in_flight_.find(encoding.job.content_key);
  End(it->second, absl::CancelledError("nobody waits for the picture"));
}

// Takes an encoding out of all queues; a complete one goes to the cache.
void VisionEngine::End(const std::shared_ptr<Encoding>& shared, const absl::Status& status) {
  const std::shared_ptr<Encoding> encoding = shared;  // the map's own reference goes below
  if (std::exchange(encoding->ended, true)) return;
  encoding->status = status;
  encoding->tiles.clear();
  encoding->job.bytes.reset();
  snapshot_.num_queued_tiles -= encoding->job.plan.num_tiles - encoding->num_encoded_tiles;
  std::erase(order_, encoding);
  std::erase(to_decode_, encoding);
  subscribers_.erase(encoding.get());
  snapshot_.num_encodings = static_cast<int64_t>(order_.size());
  if (status.ok()) cache_.Add(encoding);
  snapshot_.cache_bytes = cache_.num_bytes();
  in_flight_.erase(encoding->job.content_key);
}

void VisionEngine::RunDecoder() {
  for (;;) {
    std::shared_ptr<Encoding> encoding;
    {
      MutexLock lock(&mutex_);
      while (to_decode_.empty() && !stopping_) decode_changed_.Wait(&mutex_);
      if (stopping_) return;
      encoding = std::move(to_decode_.front());
      to_decode_.pop_front();
    }
    if (const absl::Status status = CutTiles(encoding); !status.ok()) {
      Subscribers subscribers;
      {
        MutexLock lock(&mutex_);
        if (encoding->ended) continue;
        subscribers = subscribers_[encoding.get()];
        End(encoding, status);
      }
      for (const auto& weak : subscribers) {
        if (const auto subscription = weak.lock()) subscription->on_progress_();
      }
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
  VL2_ASSIGN_OR_RETURN(TileStream stream,
                       preprocessor_.Tiles(*bytes, encoding->job.policy, encoding->job.tiling));
  if (stream.plan().num_tiles != encoding->job.plan.num_tiles) {
    return InvalidArgument("the picture has ", stream.plan().num_tiles, " tiles, its header said ",
                           encoding->job.plan.num_tiles);
  }
  bytes.reset();
  const double decode_ms = Milliseconds(begin, Clock::now());
  int index = 0;
  for (;;) {
    const auto cut_begin = Clock::now();
    std::vector<Tile> part = stream.Next();
    MutexLock lock(&mutex_);
    if (encoding->ended || part.empty()) return absl::OkStatus();
    encoding->job.bytes.reset();
    encoding->timings.decode_ms = decode_ms;
    encoding->timings.tiling_ms += Milliseconds(cut_begin, Clock::now());
    if (index == 0) encoding->first_cut = Clock::now();
    for (Tile& tile : part) encoding->tiles.emplace_back(index++, std::move(tile));
    tiles_changed_.NotifyOne();
  }
}

std::vector<VisionEngine::TakenTile> VisionEngine::TakeTiles() {
  std::vector<TakenTile> taken;
  for (const auto& encoding : order_) {
    while (!encoding->tiles.empty() &&
           taken.size() < static_cast<size_t>(options_.max_batch_tiles)) {
      if (encoding->num_taken_tiles++ == 0) {
        encoding->first_taken = Clock::now();
        encoding->timings.queue_ms = Milliseconds(encoding->first_cut, encoding->first_taken);
      }
      taken.push_back(
          {encoding, encoding->tiles.front().first, std::move(encoding->tiles.front().second)});
      encoding->tiles.pop_front();
    }
  }
  return taken;
}

void VisionEngine::RunEncoder() {
  for (;;) {
    std::vector<TakenTile> taken;
    {
      MutexLock lock(&mutex_);
      while (!stopping_ && (taken = TakeTiles()).empty()) tiles_changed_.Wait(&mutex_);
      if (stopping_) return;
    }
    EncodeTiles(taken);
  }
}

void VisionEngine::EncodeTiles(std::vector<TakenTile>& taken) {
  const auto num_tiles = static_cast<int64_t>(taken.size());
  const int64_t side = encoder_.image_size();
  const Matrix pixels = pixels_memory_.Resize(num_tiles, 3 * side * side);
  std::vector<const float*> tiles;
  for (int64_t i = 0; i < num_tiles; ++i) {
    NormalizeTile(taken[static_cast<size_t>(i)].tile, normalizer_, pixels.row(i));
    tiles.push_back(pixels.row(i));
  }
  const int64_t per_tile = encoder_.embeddings_per_tile();
  const Matrix out = out_memory_.Resize(num_tiles * per_tile, hidden_);
  encoder_.Encode(tiles, out);

  for (int64_t i = 0; i < num_tiles; ++i) {
    const TakenTile& tile = taken[static_cast<size_t>(i)];
    Encoding& encoding = *tile.encoding;
    Subscribers subscribers;
    {
      MutexLock lock(&mutex_);
      ++snapshot_.num_encoded_tiles;
      if (encoding.ended) continue;
      subscribers = subscribers_[&encoding];
    }
    // Readers look only below num_ready, which this does not touch.
    encoding.assembler.AddTile(tile.index, out.Rows(i * per_tile, per_tile));
    {
      MutexLock lock(&mutex_);
      if (encoding.ended) continue;
      ++encoding.num_encoded_tiles;
      --snapshot_.num_queued_tiles;
      encoding.timings.encode_ms = Milliseconds(encoding.first_taken, Clock::now());
      encoding.num_ready.store(encoding.assembler.num_ready(), std::memory_order_release);
      if (encoding.assembler.complete()) End(tile.encoding, absl::OkStatus());
    }
    for (const auto& weak : subscribers) {
      if (const auto subscription = weak.lock()) subscription->on_progress_();
    }
  }
}

bool VisionEngine::IsCached(const std::string& content_key) const {
  MutexLock lock(&mutex_);
  return cache_.Contains(content_key);
}

VisionEngineSnapshot VisionEngine::snapshot() const {
  MutexLock lock(&mutex_);
  return snapshot_;
}

void VisionEngine::Stop() {
  std::vector<Subscribers> waiting;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    while (!order_.empty()) {
      waiting.push_back(subscribers_[order_.front().get()]);
      End(order_.front(), absl::UnavailableError("the engine is stopping"));
    }
    decode_changed_.NotifyAll();
    tiles_changed_.NotifyAll();
  }
  for (const Subscribers& subscribers : waiting) {
    for (const auto& weak : subscribers) {
      if (const auto subscription = weak.lock()) subscription->on_progress_();
    }
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace vl2
