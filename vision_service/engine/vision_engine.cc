#include "vision_service/engine/vision_engine.h"

#include <algorithm>
#include <utility>

#include "runtime/base/client_name.h"
#include "runtime/base/error_details.h"
#include "runtime/base/status.h"
#include "runtime/base/throughput.h"
#include "vision_service/engine/next_turn.h"

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
  if (max_queued_tiles < 1 || max_held_images < 1 || max_held_bytes < 1 || cache_bytes < 0 ||
      tile_cache_bytes < 0) {
    return InvalidArgument("max_queued_tiles ", max_queued_tiles, ", max_held_images ",
                           max_held_images, " and max_held_bytes ", max_held_bytes,
                           " must be at least 1, cache_bytes ", cache_bytes,
                           " and tile_cache_bytes ", tile_cache_bytes, " at least 0");
  }
  VL2_RETURN_IF_ERROR(image_limits.Validate());
  // What is allowed for one picture must be able to come to its turn.
  if (max_request_decoded_bytes < image_limits.max_decoded_bytes ||
      max_decoding_bytes < image_limits.max_decoded_bytes) {
    return InvalidArgument("max_request_decoded_bytes ", max_request_decoded_bytes,
                           " and max_decoding_bytes ", max_decoding_bytes,
                           " must be at least max_decoded_bytes ", image_limits.max_decoded_bytes);
  }
  if (max_decode_cpu_ms < 0) {
    return InvalidArgument("max_decode_cpu_ms ", max_decode_cpu_ms, " must be at least 0");
  }
  return absl::OkStatus();
}

EncodeSubscription::~EncodeSubscription() { engine_.Leave(*encoding_, client_id_); }

absl::Status EncodeSubscription::status() const {
  MutexLock lock(&engine_.mutex_);
  return encoding_->status;
}

EncodingTimings EncodeSubscription::timings() const {
  MutexLock lock(&engine_.mutex_);
  return encoding_->timings;
}

int EncodeSubscription::num_reused_tiles() const {
  return joined_ ? num_encoded_tiles() : timings().num_reused_tiles;
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
  if (options.calibrate) raw->Calibrate();
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
      out_memory_(encoder.ops().device()),
      held_images_({.max_images = options.max_held_images,
                    .max_bytes = options.max_held_bytes,
                    .max_request_bytes = options.max_request_decoded_bytes,
                    .max_file_bytes = options.image_limits.max_bytes}),
      queued_tiles_(options.max_queued_tiles, "tiles are queued", "max_queued_tiles",
                    "the picture has"),
      cache_(options.cache_bytes),
      tile_cache_(options.tile_cache_bytes) {}

VisionEngine::~VisionEngine() { Stop(); }

absl::StatusOr<std::shared_ptr<EncodeSubscription>> VisionEngine::Encode(
    const EncodeJob& job, std::function<void()> on_progress) {
  MutexLock lock(&mutex_);
  if (stopping_) return absl::UnavailableError("the engine is stopping");
  std::shared_ptr<Encoding> encoding = cache_.Find(job.content_key);
  const bool from_cache = encoding != nullptr;
  bool joined = true;
  if (from_cache) {
    ++snapshot_.num_cache_hits;
    snapshot_.num_tiles_reused += job.plan.num_tiles;
  } else if (const auto it = in_flight_.find(job.content_key); it != in_flight_.end()) {
    ++snapshot_.num_shared;
    snapshot_.num_tiles_reused += job.plan.num_tiles;
    encoding = it->second;
  } else {
    if (const absl::Status room = queued_tiles_.Take(job.client_id, job.plan.num_tiles);
        !room.ok()) {
      snapshot_.num_tiles_refused += job.plan.num_tiles;
      return WithRetryAfter(room, RetryAfterSeconds(static_cast<double>(queued_tiles_.total()),
                                                    snapshot_.tiles_per_second));
    }
    ++snapshot_.num_misses;
    joined = false;
    encoding = std::make_shared<Encoding>(
        job, TileAssembler(job.plan.tiles_wide, job.plan.tiles_high, encoder_.config().tile_side(),
                           encoder_.image_newline(), encoder_.view_seperator()));
    encoding->priority = job.priority;
    in_flight_[job.content_key] = encoding;
    order_.push_back(encoding);
    to_decode_.push_back(encoding);
    snapshot_.num_encodings = static_cast<int64_t>(order_.size());
    decode_changed_.NotifyOne();
  }
  ++encoding->clients[job.client_id];
  encoding->priority = std::max(encoding->priority, job.priority);
  std::shared_ptr<EncodeSubscription> subscription(new EncodeSubscription(
      *this, encoding, job.client_id, from_cache, joined, std::move(on_progress)));
  if (!encoding->ended) {
    Subscribers& subscribers = subscribers_[encoding.get()];
    std::erase_if(subscribers, [](const auto& weak) { return weak.expired(); });
    subscribers.push_back(subscription);
  }
  return subscription;
}

void VisionEngine::Leave(Encoding& encoding, const std::string& client_id) {
  MutexLock lock(&mutex_);
  const auto client = encoding.clients.find(client_id);
  if (--client->second == 0) encoding.clients.erase(client);
  if (encoding.clients.empty() && !encoding.ended) {
    ++snapshot_.num_cancelled;
    const auto it = in_flight_.find(encoding.job.content_key);
    End(it->second, absl::CancelledError("nobody waits for the picture"));
  }
  ForgetIfIdle(client_id);
}

// Takes an encoding out of all queues; a complete one goes to the cache.
void VisionEngine::End(const std::shared_ptr<Encoding>& shared, const absl::Status& status) {
  const std::shared_ptr<Encoding> encoding = shared;  // the map's own reference goes below
  if (std::exchange(encoding->ended, true)) return;
  encoding->status = status;
  encoding->abandoned = true;
  encoding->tiles.clear();
  encoding->job.bytes.reset();
  const int num_left = encoding->job.plan.num_tiles - encoding->num_encoded_tiles;
  queued_tiles_.Return(encoding->job.client_id, num_left);
  std::erase(order_, encoding);
  std::erase(to_decode_, encoding);
  for (const auto& [client, num_subscriptions] : encoding->clients) ForgetIfIdle(client);
  subscribers_.erase(encoding.get());
  snapshot_.num_encodings = static_cast<int64_t>(order_.size());
  if (status.ok()) cache_.Add(encoding);
  snapshot_.cache_bytes = cache_.num_bytes();
  in_flight_.erase(encoding->job.content_key);
}

void VisionEngine::ForgetIfIdle(const std::string& client_id) {
  const std::string tenant = TenantOf(client_id);
  bool tenant_is_idle = true;
  for (const auto& encoding : order_) {
    for (const auto& [client, num_subscriptions] : encoding->clients) {
      if (client == client_id) return;
      if (TenantOf(client) == tenant) tenant_is_idle = false;
    }
  }
  decode_turns_.Forget(client_id, tenant_is_idle);
  tile_turns_.Forget(client_id, tenant_is_idle);
}

VisionEngine::Batch VisionEngine::TakeTiles() {
  Batch batch;
  while (batch.to_encode.size() < static_cast<size_t>(options_.max_batch_tiles)) {
    const auto [encoding, client] = NextTurn(
        order_, tile_turns_, [](const Encoding& candidate) { return !candidate.tiles.empty(); });
    if (encoding == nullptr) break;
    CutTile cut = std::move(encoding->tiles.front());
    encoding->tiles.pop_front();
    const TilePlace place{encoding, cut.index};
    if (!cut.key.empty()) {
      // Since it was cut, an equal one has been encoded.
      if (TileEmbeddings cached = tile_cache_.Find(cut.key); cached != nullptr) {
        batch.reused.push_back({place, std::move(cached)});
        continue;
      }
      const auto same = std::ranges::find(batch.to_encode, cut.key, &TakenTile::key);
      if (same != batch.to_encode.end()) {
        same->places.push_back(place);
        continue;
      }
    }
    tile_turns_.Serve(client);
    if (encoding->num_taken_tiles++ == 0) {
      encoding->first_taken = Clock::now();
      encoding->timings.queue_ms = Milliseconds(encoding->first_cut, encoding->first_taken);
    }
    if (!cut.key.empty()) keys_in_hand_.push_back(cut.key);
    batch.to_encode.push_back({std::move(cut.tile), std::move(cut.key), {place}});
  }
  return batch;
}

void VisionEngine::RunEncoder() {
  for (;;) {
    Batch batch;
    {
      MutexLock lock(&mutex_);
      while (!stopping_ && (batch = TakeTiles()).empty()) tiles_changed_.Wait(&mutex_);
      if (stopping_) return;
      in_batch_ = true;
    }
    for (const ReusedTile& tile : batch.reused) Deliver(tile);
    if (!batch.to_encode.empty()) EncodeTiles(batch.to_encode);
    MutexLock lock(&mutex_);
    in_batch_ = false;
    keys_in_hand_.clear();
    ++snapshot_.num_batches;
  }
}

void VisionEngine::EncodeTiles(const std::vector<TakenTile>& taken) {
  const auto num_tiles = static_cast<int64_t>(taken.size());
  std::vector<const uint8_t*> tiles;
  for (const TakenTile& each : taken) tiles.push_back(each.tile.data());
  const int64_t per_tile = encoder_.embeddings_per_tile();
  const Matrix out = out_memory_.Resize(num_tiles * per_tile, hidden_);
  const Clock::time_point begin = Clock::now();
  encoder_.Encode(tiles, normalizer_.table(), out);
  const ConstHostMatrix embeddings = ToHost(ConstMatrix(out), host_memory_);
  const Clock::time_point end = Clock::now();
  TakeSpeed(num_tiles, Milliseconds(begin, end) / 1000);

  for (int64_t i = 0; i < num_tiles; ++i) {
    const TakenTile& tile = taken[static_cast<size_t>(i)];
    const ConstHostMatrix rows = embeddings.Rows(i * per_tile, per_tile);
    TileEmbeddings kept;
    if (!tile.key.empty()) {
      VL2_CHECK(rows.stride == hidden_);
      kept = std::make_shared<const std::vector<float>>(rows.data, rows.data + per_tile * hidden_);
    }
    {
      MutexLock lock(&mutex_);
      ++snapshot_.num_encoded_tiles;
      if (kept != nullptr) tile_cache_.Add(tile.key, std::move(kept));
    }
    for (size_t place = 0; place < tile.places.size(); ++place) {
      const TilePlace& each = tile.places[place];
      EncodingTimeline* const timeline = each.encoding->job.timeline.get();
      if (timeline != nullptr) timeline->Encoded(each.index, begin, end);
      Deliver(each, rows, place > 0);
    }
  }
}

void VisionEngine::Deliver(const ReusedTile& tile) {
  const Clock::time_point now = Clock::now();
  EncodingTimeline* const timeline = tile.place.encoding->job.timeline.get();
  if (timeline != nullptr) timeline->Encoded(tile.place.index, now, now);
  Deliver(tile.place, {tile.embeddings->data(), encoder_.embeddings_per_tile(), hidden_}, true);
}

void VisionEngine::Deliver(const TilePlace& place, ConstHostMatrix embeddings, bool reused) {
  Encoding& encoding = *place.encoding;
  Subscribers subscribers;
  {
    MutexLock one_at_a_time(&encoding.delivery_mutex);
    // Readers look only below num_ready, which this does not touch.
    encoding.assembler.AddTile(place.index, embeddings);
    MutexLock lock(&mutex_);
    if (encoding.ended) return;
    subscribers = subscribers_[&encoding];
    if (reused) ++encoding.timings.num_reused_tiles;
    ++encoding.num_encoded_tiles;
    queued_tiles_.Return(encoding.job.client_id, 1);
    if (encoding.num_taken_tiles > 0) {
      encoding.timings.encode_ms = Milliseconds(encoding.first_taken, Clock::now());
    }
    encoding.num_ready.store(encoding.assembler.num_ready(), std::memory_order_release);
    if (encoding.assembler.complete()) {
      if (options_.on_encoded) options_.on_encoded(encoding.timings);
      End(place.encoding, absl::OkStatus());
    }
  }
  for (const auto& weak : subscribers) {
    if (const auto subscription = weak.lock()) subscription->on_progress_();
  }
}

// A mean that forgets: the last ten or so batches count.
void VisionEngine::TakeSpeed(int64_t num_tiles, double seconds) {
  const double speed = static_cast<double>(num_tiles) / std::max(seconds, 1e-6);
  constexpr double kNewShare = 0.2;
  MutexLock lock(&mutex_);
  double& mean = snapshot_.tiles_per_second;
  mean = mean == 0 ? speed : mean + kNewShare * (speed - mean);
}

void VisionEngine::Calibrate() {
  const int64_t side = encoder_.image_size();
  const std::vector<uint8_t> black(static_cast<size_t>(3 * side * side), uint8_t{0});
  const Matrix out = out_memory_.Resize(encoder_.embeddings_per_tile(), hidden_);
  const Clock::time_point begin = Clock::now();
  const uint8_t* const tile = black.data();
  encoder_.Encode({&tile, 1}, normalizer_.table(), out);
  TakeSpeed(1, Milliseconds(begin, Clock::now()) / 1000);
}

bool VisionEngine::IsCached(const std::string& content_key) const {
  MutexLock lock(&mutex_);
  return cache_.Contains(content_key);
}

VisionEngineSnapshot VisionEngine::snapshot() const {
  VisionEngineSnapshot now;
  {
    MutexLock lock(&mutex_);
    now = snapshot_;
    now.num_queued_tiles = queued_tiles_.total();
    now.tile_cache_bytes = tile_cache_.num_bytes();
    now.num_waiting_decodes = static_cast<int64_t>(to_decode_.size());
    for (const auto& encoding : order_) {
      now.num_cut_tiles += static_cast<int64_t>(encoding->tiles.size());
    }
    now.has_decodes = !to_decode_.empty() || snapshot_.decoding_bytes > 0;
    now.has_batches = in_batch_ || now.num_cut_tiles > 0;
  }
  now.num_held_images = held_images_.num_images();
  now.held_bytes = held_images_.num_bytes();
  now.num_clients = held_images_.num_clients();
  now.num_waiting_headers = side_work_.num_waiting();
  return now;
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
  side_work_.Stop();
}

}  // namespace vl2
