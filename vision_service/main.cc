// vision_service: the vision service. See --help; every flag can be set as VL2_<FLAG> too.
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "runtime/base/cpu_quota.h"
#include "runtime/base/json.h"
#include "runtime/base/log.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/ops/cpu/cpu_target.h"
#include "runtime/ops/make_ops.h"
#include "runtime/rpc/caller_rule.h"
#include "runtime/rpc/drain.h"
#include "runtime/rpc/host_port.h"
#include "runtime/rpc/metrics_port.h"
#include "runtime/rpc/model_info.h"
#include "runtime/rpc/server_scaffold.h"
#include "runtime/rpc/service_main.h"
#include "runtime/rpc/tls_flags.h"
#include "runtime/rpc/tls_identity.h"
#include "runtime/rpc/trace_flags.h"
#include "runtime/weight_format/weight_policy.h"
#include "vision_service/engine/vision_engine.h"
#include "vision_service/service/vision_service.h"

ABSL_FLAG(std::string, model, "", "Folder of a DeepSeek-VL2 checkpoint.");
ABSL_FLAG(std::string, expect_model_id, "",
          "The model_id that the checkpoint must have; another one ends the start. Empty: any.");
ABSL_FLAG(
    std::string, weights, "auto",
    "How the weights are kept: auto or bf16 (as in the checkpoint, float16 as bfloat16), f32, "
    "int8 or int4, here the same (docs/quantization.md).");
ABSL_FLAG(std::string, model_name, "", "Name shown to clients; empty: the folder's name.");
ABSL_FLAG(std::string, listen, "127.0.0.1:50062", "host:port for gRPC; port 0: any free one.");
ABSL_FLAG(std::string, advertise, "",
          "host:port under which others reach this service; empty: the address they have dialled.");
ABSL_FLAG(std::string, metrics_listen, "127.0.0.1:9062",
          "host:port for /metrics, /livez and /readyz, open from the start; empty: none.");
ABSL_FLAG(std::string, port_file, "", "File that gets the ports once they are open; empty: none.");
ABSL_FLAG(std::vector<std::string>, lm_allow, {},
          "Language services that embeddings may go to: host or host:port, separated by commas; "
          "empty: loopback addresses.");
ABSL_FLAG(int64_t, lm_allow_keep_ms, 600'000,
          "How long embeddings may go to an address after its name in --lm_allow has lost it, "
          "milliseconds; 0: the names as last resolved are all that counts.");
ABSL_FLAG(int64_t, resolve_interval_ms, 2000,
          "How often the names in --lm_allow are resolved, milliseconds.");
ABSL_FLAG(std::string, ops, "cpu", "Backend: cpu or ref.");
ABSL_FLAG(
    std::string, cpu_target, "",
    "Instruction set: AVX3_DL, AVX3, AVX2_VNNI, AVX2, SSE4, NEON_DOT, NEON or EMU128; empty: "
    "the best. Machines that differ answer alike, to the bit, with one that all of them have.");
ABSL_FLAG(int, threads, 0,
          "Threads that encode; 0: as many as cores may be used, a container's quota included.");
ABSL_FLAG(
    int64_t, stall_timeout_ms, 60'000,
    "/livez fails when there is work and no decoding or no batch of tiles has ended for so long, "
    "milliseconds.");
ABSL_FLAG(int, decode_threads, 2, "Threads that decode and cut pictures, one picture each.");
ABSL_FLAG(int, max_batch_tiles, 1, "Tiles encoded at a time at most.");
ABSL_FLAG(int64_t, max_queued_tiles, 512, "Tiles of all pictures in the queue at most.");
ABSL_FLAG(int64_t, max_held_images, 256, "Pictures held at a time at most.");
ABSL_FLAG(int64_t, max_held_bytes, int64_t{512} << 20, "Bytes of their files at most.");
ABSL_FLAG(int64_t, held_image_timeout_ms, 120'000,
          "How long a picture is held without use, milliseconds.");
ABSL_FLAG(int64_t, cache_bytes, int64_t{512} << 20,
          "Bytes of cached embeddings of whole images; 0: no cache.");
ABSL_FLAG(int64_t, tile_cache_bytes, int64_t{512} << 20,
          "Bytes of cached embeddings of tiles, which images that are alike in part share; 0: no "
          "cache.");
ABSL_FLAG(int64_t, max_image_bytes, int64_t{20} << 20, "Bytes of one file at most.");
ABSL_FLAG(int64_t, max_image_pixels, int64_t{1} << 26, "Pixels of one picture at most.");
ABSL_FLAG(int64_t, max_decoded_bytes, int64_t{256} << 20,
          "Bytes of one picture when decoded at most: width, height, bands and bytes of a sample "
          "multiplied, or what is held while decoding if that is more.");
ABSL_FLAG(int64_t, max_request_decoded_bytes, int64_t{1} << 30,
          "Decoded bytes of all pictures of one request at most.");
ABSL_FLAG(int64_t, max_decoding_bytes, int64_t{2} << 30,
          "Decoded bytes of the pictures that are being decoded at a time; others wait.");
ABSL_FLAG(int64_t, max_decode_cpu_ms, 2000,
          "Processor time that decoding one picture may take, milliseconds; 0: any.");
ABSL_FLAG(int64_t, drain_timeout_ms, 30'000,
          "How long running calls may go on after SIGTERM, milliseconds.");

namespace vl2 {
namespace {

struct Options {
  std::string model = absl::GetFlag(FLAGS_model);
  WeightChoice weights;  // set by Validate
  std::string model_name = absl::GetFlag(FLAGS_model_name);
  std::string ops = absl::GetFlag(FLAGS_ops);
  std::string advertise = absl::GetFlag(FLAGS_advertise);
  PeerAllowListOptions peers = {.entries = absl::GetFlag(FLAGS_lm_allow),
                                .resolve_interval_ms = absl::GetFlag(FLAGS_resolve_interval_ms),
                                .keep_ms = absl::GetFlag(FLAGS_lm_allow_keep_ms)};
  std::string metrics_listen = absl::GetFlag(FLAGS_metrics_listen);
  std::chrono::milliseconds stall_timeout{absl::GetFlag(FLAGS_stall_timeout_ms)};
  int threads = absl::GetFlag(FLAGS_threads);
  ServerOptions server = {.service_name = "vision_service",
                          .listen = absl::GetFlag(FLAGS_listen),
                          .port_file = absl::GetFlag(FLAGS_port_file),
                          .drain_timeout_ms = absl::GetFlag(FLAGS_drain_timeout_ms),
                          .reflection = ReflectionFromFlags()};
  TlsOptions tls = PeerTlsFromFlags();
  VisionServiceOptions service = {.held_image_timeout_ms =
                                      absl::GetFlag(FLAGS_held_image_timeout_ms)};
  VisionEngineOptions engine = {
      .max_batch_tiles = absl::GetFlag(FLAGS_max_batch_tiles),
      .num_decode_threads = absl::GetFlag(FLAGS_decode_threads),
      .max_queued_tiles = absl::GetFlag(FLAGS_max_queued_tiles),
      .max_held_images = absl::GetFlag(FLAGS_max_held_images),
      .max_held_bytes = absl::GetFlag(FLAGS_max_held_bytes),
      .cache_bytes = absl::GetFlag(FLAGS_cache_bytes),
      .tile_cache_bytes = absl::GetFlag(FLAGS_tile_cache_bytes),
      .max_request_decoded_bytes = absl::GetFlag(FLAGS_max_request_decoded_bytes),
      .max_decoding_bytes = absl::GetFlag(FLAGS_max_decoding_bytes),
      .max_decode_cpu_ms = absl::GetFlag(FLAGS_max_decode_cpu_ms),
      .image_limits = {}};

  absl::Status Validate();
};

absl::Status Options::Validate() {
  if (model.empty()) return InvalidArgument("--model is needed, see --help");
  VL2_ASSIGN_OR_RETURN(weights, ParseWeights(absl::GetFlag(FLAGS_weights)));
  VL2_RETURN_IF_ERROR(ChooseCpuTarget(absl::GetFlag(FLAGS_cpu_target)));
  if (threads < 0 || threads > ThreadPool::kMaxThreads) {
    return InvalidArgument("--threads ", threads, " is outside [0, ", ThreadPool::kMaxThreads, "]");
  }
  const int64_t max_image_bytes = absl::GetFlag(FLAGS_max_image_bytes);
  if (max_image_bytes < 1) {
    return InvalidArgument("--max_image_bytes ", max_image_bytes, " must be at least 1");
  }
  engine.image_limits.max_bytes = static_cast<size_t>(max_image_bytes);
  engine.image_limits.max_pixels = absl::GetFlag(FLAGS_max_image_pixels);
  engine.image_limits.max_decoded_bytes = absl::GetFlag(FLAGS_max_decoded_bytes);
  VL2_RETURN_IF_ERROR(server.Validate());
  VL2_RETURN_IF_ERROR(CheckAdvertised(advertise));
  VL2_RETURN_IF_ERROR(engine.Validate());
  return service.Validate();
}

absl::StatusOr<v1::ModelInfo> MakeInfo(const Options& options, const Checkpoint& checkpoint) {
  VL2_ASSIGN_OR_RETURN(v1::ModelInfo info, ReadModelInfo(options.model, options.model_name));
  VL2_ASSIGN_OR_RETURN(*info.mutable_model_id(), checkpoint.ModelId());
  VL2_RETURN_IF_ERROR(CheckModelId(info.model_id(), absl::GetFlag(FLAGS_expect_model_id)));
  info.set_weight_dtype(options.weights.Name(checkpoint.KeptType("image_newline")));
  info.set_device(options.ops == "cpu" ? Cat("cpu ", CpuTarget()) : options.ops);
  info.set_hidden_size(checkpoint.config().projector_config.n_embed);
  info.set_max_context_tokens(checkpoint.config().language_config.max_position_embeddings);
  auto& limits = *info.mutable_limits();
  limits["max_image_bytes"] = static_cast<int64_t>(options.engine.image_limits.max_bytes);
  limits["max_image_pixels"] = options.engine.image_limits.max_pixels;
  limits["max_decoded_bytes"] = options.engine.image_limits.max_decoded_bytes;
  limits["max_request_decoded_bytes"] = options.engine.max_request_decoded_bytes;
  limits["max_decoding_bytes"] = options.engine.max_decoding_bytes;
  limits["max_decode_cpu_ms"] = options.engine.max_decode_cpu_ms;
  limits["max_queued_tiles"] = options.engine.max_queued_tiles;
  limits["max_held_images"] = options.engine.max_held_images;
  limits["max_held_bytes"] = options.engine.max_held_bytes;
  limits["held_image_timeout_ms"] = options.service.held_image_timeout_ms;
  return info;
}

absl::Status Run(TerminationSignal& signal) {
  Options options;
  VL2_RETURN_IF_ERROR(options.Validate());
  MetricsPort port;
  VL2_ASSIGN_OR_RETURN(const auto tls, TlsIdentity::Open(options.tls, port.metrics()));
  if (tls != nullptr) options.server.credentials = tls->ForServer();
  const MetricsPort::Closer tls_closer(port);
  VL2_RETURN_IF_ERROR(port.Open(options.metrics_listen));
  VL2_ASSIGN_OR_RETURN(const auto tracer, StartTracer("vision", port));
  VL2_ASSIGN_OR_RETURN(const auto peers, PeerAllowList::Make(options.peers));
  VL2_ASSIGN_OR_RETURN(const auto checkpoint,
                       Checkpoint::Open(options.model, options.weights.type));
  VL2_ASSIGN_OR_RETURN(options.weights, checkpoint->Choose(options.weights));
  VL2_ASSIGN_OR_RETURN(const Json processor_json,
                       ParseJsonFile(options.model + "/processor_config.json"));
  VL2_ASSIGN_OR_RETURN(const ImageProcessorConfig processor,
                       ParseImageProcessorConfig(processor_json));
  VL2_ASSIGN_OR_RETURN(v1::ModelInfo info, MakeInfo(options, *checkpoint));
  ThreadPool pool(options.threads > 0 ? options.threads : UsableCores());
  port.SetThreads(pool.num_threads());
  VL2_ASSIGN_OR_RETURN(const std::unique_ptr<Ops> ops, MakeOps(options.ops, &pool));
  Log(Severity::kInfo, "loading",
      {{"model", options.model}, {"model_id", info.model_id()}, {"weights", info.weight_dtype()}});
  port.SetModelId(info.model_id());
  const auto num_bytes =
      static_cast<double>(checkpoint->NumBytes("") - checkpoint->NumBytes("language."));
  const auto progress = [&](int64_t bytes) {
    port.health().SetLoadProgress(static_cast<double>(bytes) / num_bytes);
  };
  const auto encoder = VisionEncoder::Load(*checkpoint, *ops, progress, options.weights.policy);

  VisionMetrics metrics(port.metrics());
  options.engine.on_encoded = [&metrics](const EncodingTimings& timings) {
    metrics.OnEncoded(timings);
  };
  options.engine.calibrate = true;
  VL2_ASSIGN_OR_RETURN(const auto engine, VisionEngine::Start(options.engine, processor, *encoder));
  metrics.Watch(*engine, *peers);
  // One for each: pictures that cannot be decoded would hide an encoder that hangs, or would pass
  // for one, since no tile of them is ever encoded.
  StallCheck decoding("decoding of a picture", options.stall_timeout);
  StallCheck encoding("batch of tiles", options.stall_timeout);
  port.health().AddCheck([&] {
    const VisionEngineSnapshot now = engine->snapshot();
    VL2_RETURN_IF_ERROR(decoding.Check(now.has_decodes, now.num_decodes));
    return encoding.Check(now.has_batches, now.num_batches);
  });
  const CallerRule encode(port.metrics(), "vision", "Encode", TlsIdentity::kGateway,
                          tls != nullptr);
  options.service.encode_callers = &encode;
  if (tls != nullptr) {
    options.service.language = {.credentials = tls->ForChannels(), .name = TlsIdentity::kLanguage};
  }
  VisionServiceImpl service(options.service, *engine, *peers, metrics, std::move(info),
                            tracer.get());
  const MetricsPort::Closer closer(port);
  VL2_ASSIGN_OR_RETURN(const auto server, ServerScaffold::Start(options.server, {&service}, port));
  service.SetAddress(options.advertise);
  server->SetServing(true);
  const int number = signal.Wait();
  Log(Severity::kInfo, "stopping", {{"signal", number}});
  DrainService(*server, service.gate(), options.server.drain_timeout_ms);
  engine->Stop();
  return absl::OkStatus();
}

}  // namespace
}  // namespace vl2

int main(int argc, char** argv) {
  return vl2::ServiceMain(
      argc, argv, "vision_service",
      "vision_service --model DIR [flags]\n"
      "Encoded pictures in, embeddings in prompt order out: vl2.v1.VisionService.",
      &vl2::Run);
}
