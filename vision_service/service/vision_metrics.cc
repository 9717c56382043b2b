#include "vision_service/service/vision_metrics.h"

#include <utility>
#include <vector>

#include "runtime/rpc/metric_codes.h"

namespace vl2 {
namespace {

// 1 ms to about five minutes, each twice the last.
std::vector<double> SecondsBounds() {
  std::vector<double> bounds;
  for (double bound = 0.001; bound < 300; bound *= 2) bounds.push_back(bound);
  return bounds;
}

MetricHistogram Seconds(Metrics& metrics, const char* name, const char* help) {
  return metrics.Histogram(name, help, SecondsBounds());
}

}  // namespace

VisionMetrics::VisionMetrics(Metrics& metrics)
    : metrics_(metrics),
      decode_seconds_(
          Seconds(metrics, "vl2_vision_decode_seconds", "To decode an image and cut its tiles.")),
      wait_seconds_(Seconds(metrics, "vl2_vision_wait_seconds",
                            "From an image's first tile being cut to the encoder's taking it.")),
      encode_seconds_(Seconds(metrics, "vl2_vision_encode_seconds",
                              "From an image's first tile being taken to its last being encoded.")),
      upload_seconds_(Seconds(metrics, "vl2_vision_upload_seconds",
                              "From the first to the last byte of an upload.")),
      upload_bytes_(metrics.Counter("vl2_vision_upload_bytes_total", "Bytes of embeddings sent.")) {
  const char* const stages[] = {"header", "file", "encode"};
  for (int i = 0; i < 3; ++i) {
    cancelled_.emplace(i,
                       metrics.Counter("vl2_vision_cancelled_total",
                                       "Calls that their callers left, by how far they had come.",
                                       {{"stage", stages[i]}}));
  }
  for (int i = 0; i < kNumStatusCodes; ++i) {
    const auto code = static_cast<absl::StatusCode>(i);
    uploads_.emplace(code, metrics.Counter("vl2_vision_uploads_total", "Uploads by how they ended.",
                                           {{"code", CodeLabel(code)}}));
  }
}

void VisionMetrics::Watch(const VisionEngine& engine, const PeerAllowList& peers) {
  metrics_.AddSource([&](MetricSamples& samples) {
    const VisionEngineSnapshot now = engine.snapshot();
    const VisionEngineOptions& options = engine.options();
    const auto gauge = [&](const char* name, const char* help, int64_t value,
                           const MetricLabels& labels = {}) {
      samples.Gauge(name, help, static_cast<double>(value), labels);
    };
    const auto counter = [&](const char* name, const char* help, int64_t value,
                             const MetricLabels& labels = {}) {
      samples.Counter(name, help, static_cast<double>(value), labels);
    };
    gauge("vl2_vision_tiles_queued", "Tiles that are not encoded yet.", now.num_queued_tiles);
    gauge("vl2_vision_tiles_queued_limit", "These at most.", options.max_queued_tiles);
    for (const auto& [outcome, value] :
         {std::pair("encoded", now.num_tiles_to_encode), std::pair("reused", now.num_tiles_reused),
          std::pair("refused", now.num_tiles_refused)}) {
      counter("vl2_vision_tiles_requested_total",
              "Tiles of images that were asked for: to be encoded, there already, or refused for "
              "want of room.",
              value, {{"outcome", outcome}});
    }
    counter("vl2_vision_tiles_encoded_total", "Tiles encoded.", now.num_encoded_tiles);
    samples.Gauge(
        "vl2_vision_tiles_per_second",
        "Speed of this process while it encodes; one blank tile is measured at the start.",
        now.tiles_per_second);
    gauge("vl2_vision_decode_queue", "Images that wait to be decoded.", now.num_waiting_decodes);
    gauge("vl2_vision_decode_queue_limit", "These at most, since each is held for a call.",
          options.max_held_images);
    gauge("vl2_vision_header_queue", "Headers that wait to be read.", now.num_waiting_headers);
    gauge("vl2_vision_header_queue_limit", "These at most, since each is held for a call.",
          options.max_held_images);
    gauge("vl2_vision_encodings", "Images being encoded.", now.num_encodings);
    gauge("vl2_vision_clients", "Clients that hold images.", now.num_clients);
    gauge("vl2_vision_held_images", "Images held for calls.", now.num_held_images);
    gauge("vl2_vision_held_images_limit", "These at most.", options.max_held_images);
    gauge("vl2_vision_held_bytes", "Bytes of their files.", now.held_bytes);
    gauge("vl2_vision_held_bytes_limit", "These at most.", options.max_held_bytes);
    gauge("vl2_vision_decoding_bytes", "Decoded bytes of the images being decoded.",
          now.decoding_bytes);
    gauge("vl2_vision_decoding_bytes_limit", "These at most.", options.max_decoding_bytes);
    gauge("vl2_vision_cache_bytes", "Bytes of cached embeddings of images.", now.cache_bytes);
    gauge("vl2_vision_cache_bytes_limit", "These at most.", options.cache_bytes);
    for (const auto& [result, value] :
         {std::pair("hit", now.num_cache_hits), std::pair("shared", now.num_shared),
          std::pair("miss", now.num_misses)}) {
      counter("vl2_vision_cache_requests_total",
              "Images asked for: in the cache, being encoded for another call, or neither.", value,
              {{"result", result}});
    }
    gauge("vl2_vision_tile_cache_bytes", "Bytes of cached embeddings of tiles.",
          now.tile_cache_bytes);
    gauge("vl2_vision_tile_cache_bytes_limit", "These at most.", options.tile_cache_bytes);
    for (const auto& [result, value] :
         {std::pair("hit", now.num_tile_cache_hits), std::pair("shared", now.num_tiles_shared),
          std::pair("miss", now.num_tile_cache_misses)}) {
      counter("vl2_vision_tile_cache_requests_total",
              "Tiles of images that were cut: in the cache, equal to one that is not encoded yet, "
              "or neither.",
              value, {{"result", result}});
    }
    counter("vl2_vision_abandoned_total", "Encodings that everybody left.", now.num_cancelled);
    gauge("vl2_vision_uploads", "Uploads by what they do.", num_uploads_, {{"state", "sending"}});
    gauge("vl2_vision_uploads", "Uploads by what they do.", peers.num_asking(),
          {{"state", "resolving"}});
    counter("vl2_vision_peers_refused_total", "Deliveries to addresses that are not allowed.",
            peers.num_refused());
  });
}

void VisionMetrics::OnEncoded(const EncodingTimings& timings) {
  decode_seconds_.Observe((timings.decode_ms + timings.tiling_ms) / 1000);
  wait_seconds_.Observe(timings.queue_ms / 1000);
  encode_seconds_.Observe(timings.encode_ms / 1000);
}

void VisionMetrics::OnUploadEnd(const absl::Status& status, double seconds) {
  --num_uploads_;
  uploads_.at(status.code()).Add();
  upload_seconds_.Observe(seconds);
}

}  // namespace vl2
