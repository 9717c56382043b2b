// lm_service: the language service. See --help; every flag can be set as VL2_<FLAG> too.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/flags/flag.h"
#include "lm_service/engine/engine.h"
#include "lm_service/service/engine_metrics.h"
#include "lm_service/service/language_service.h"
#include "runtime/base/cpu_quota.h"
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
#include "text/tokenizer.h"

ABSL_FLAG(std::string, model, "", "Folder of a DeepSeek-VL2 checkpoint.");
ABSL_FLAG(std::string, expect_model_id, "",
          "The model_id that the checkpoint must have; another one ends the start. Empty: any.");
ABSL_FLAG(std::string, model_name, "", "Name shown to clients; empty: the folder's name.");
ABSL_FLAG(
    std::string, weights, "auto",
    "How the weights are kept: auto or bf16 (as in the checkpoint, float16 as bfloat16), f32, "
    "int8 or int4 (docs/quantization.md).");
ABSL_FLAG(std::string, listen, "127.0.0.1:50061", "host:port for gRPC; port 0: any free one.");
ABSL_FLAG(std::string, advertise, "",
          "host:port under which the vision service reaches this one; empty: the address that the "
          "gateway has dialled.");
ABSL_FLAG(std::string, metrics_listen, "127.0.0.1:9061",
          "host:port for /metrics, /livez and /readyz, open from the start; empty: none.");
ABSL_FLAG(std::string, port_file, "", "File that gets the ports once they are open; empty: none.");
ABSL_FLAG(std::string, ops, "cpu", "Backend: cpu or ref.");
ABSL_FLAG(
    std::string, cpu_target, "",
    "Instruction set: AVX3_DL, AVX3, AVX2_VNNI, AVX2, SSE4, NEON_DOT, NEON or EMU128; empty: "
    "the best. Machines that differ answer alike, to the bit, with one that all of them have.");
ABSL_FLAG(int, threads, 0,
          "Threads that compute; 0: as many as cores may be used, a container's quota included.");
ABSL_FLAG(
    int64_t, stall_timeout_ms, 60'000,
    "/livez fails when there is work and the engine has done nothing for so long, milliseconds.");
ABSL_FLAG(int64_t, cache_tokens, 0,
          "Tokens that the key-value cache holds; 0: as --cache_bytes says.");
ABSL_FLAG(
    std::string, cache_dtype, "f32",
    "Keys and values of the cache: f32, or bf16 for half the memory and a little less accuracy.");
ABSL_FLAG(int64_t, cache_bytes, int64_t{2} << 30,
          "Bytes of the key-value cache, when --cache_tokens is 0.");
ABSL_FLAG(int64_t, max_batch_tokens, 512, "Tokens computed in one step at most.");
ABSL_FLAG(int64_t, max_step_ms, 250, "Duration that a step aims at, milliseconds.");
ABSL_FLAG(int64_t, max_running, 64, "Sequences computed at a time at most.");
ABSL_FLAG(int64_t, max_sequences, 256, "Sequences taken at most, waiting ones included.");
ABSL_FLAG(int64_t, slot_wait_timeout_ms, 60'000,
          "How long a sequence waits for embeddings without progress, milliseconds.");
ABSL_FLAG(int64_t, max_embedding_bytes, int64_t{1} << 30,
          "Host memory for pictures of all sequences, bytes.");
ABSL_FLAG(int64_t, max_waiting_events, 4096,
          "Events that wait for a slow client before its call ends, count.");
ABSL_FLAG(int64_t, drain_timeout_ms, 30'000,
          "How long running calls may go on after SIGTERM, milliseconds.");

namespace vl2 {
namespace {

struct Options {
  std::string model = absl::GetFlag(FLAGS_model);
  std::string model_name = absl::GetFlag(FLAGS_model_name);
  WeightChoice weights;             // set by Validate
  DType cache_dtype = DType::kF32;  // set by Validate
  std::string ops = absl::GetFlag(FLAGS_ops);
  std::string advertise = absl::GetFlag(FLAGS_advertise);
  std::string metrics_listen = absl::GetFlag(FLAGS_metrics_listen);
  std::chrono::milliseconds stall_timeout{absl::GetFlag(FLAGS_stall_timeout_ms)};
  int threads = absl::GetFlag(FLAGS_threads);
  int64_t cache_tokens = absl::GetFlag(FLAGS_cache_tokens);
  int64_t cache_bytes = absl::GetFlag(FLAGS_cache_bytes);
  ServerOptions server = {.service_name = "lm_service",
                          .listen = absl::GetFlag(FLAGS_listen),
                          .port_file = absl::GetFlag(FLAGS_port_file),
                          .drain_timeout_ms = absl::GetFlag(FLAGS_drain_timeout_ms),
                          .reflection = ReflectionFromFlags()};
  TlsOptions tls = PeerTlsFromFlags();
  LanguageServiceOptions service = {.max_waiting_events = absl::GetFlag(FLAGS_max_waiting_events)};

  absl::Status Validate();
  EngineOptions Engine(const LanguageConfig& config, const Ops& ops, int32_t end_token_id) const;
};

absl::Status Options::Validate() {
  if (model.empty()) return InvalidArgument("--model is needed, see --help");
  VL2_ASSIGN_OR_RETURN(weights, ParseWeights(absl::GetFlag(FLAGS_weights)));
  VL2_RETURN_IF_ERROR(ChooseCpuTarget(absl::GetFlag(FLAGS_cpu_target)));
  if (threads < 0 || threads > ThreadPool::kMaxThreads) {
    return InvalidArgument("--threads ", threads, " is outside [0, ", ThreadPool::kMaxThreads, "]");
  }
  VL2_ASSIGN_OR_RETURN(cache_dtype, ParseCacheDType(absl::GetFlag(FLAGS_cache_dtype)));
  if (cache_tokens < 0) return InvalidArgument("--cache_tokens ", cache_tokens, " is negative");
  if (cache_tokens == 0 && cache_bytes < 1) {
    return InvalidArgument("--cache_bytes ", cache_bytes, " must be at least 1");
  }
  VL2_RETURN_IF_ERROR(server.Validate());
  VL2_RETURN_IF_ERROR(CheckAdvertised(advertise));
  return service.Validate();
}

EngineOptions Options::Engine(const LanguageConfig& config, const Ops& ops,
                              int32_t end_token_id) const {
  EngineOptions options;
  options.scheduler.num_blocks =
      cache_tokens > 0 ? BlocksFor(cache_tokens)
                       : cache_bytes / ops.CacheBlockBytes(MakeCacheShape(config, cache_dtype));
  options.cache_dtype = cache_dtype;
  options.scheduler.max_running = absl::GetFlag(FLAGS_max_running);
  options.scheduler.max_batch_tokens = absl::GetFlag(FLAGS_max_batch_tokens);
  options.scheduler.max_step_ms = absl::GetFlag(FLAGS_max_step_ms);
  options.scheduler.slot_wait_timeout_ms = absl::GetFlag(FLAGS_slot_wait_timeout_ms);
  options.scheduler.max_embedding_bytes = absl::GetFlag(FLAGS_max_embedding_bytes);
  options.max_sequences = absl::GetFlag(FLAGS_max_sequences);
  options.end_token_id = end_token_id;
  return options;
}

absl::StatusOr<v1::ModelInfo> MakeInfo(const Options& options, const Checkpoint& checkpoint,
                                       const EngineOptions& engine) {
  VL2_ASSIGN_OR_RETURN(v1::ModelInfo info, ReadModelInfo(options.model, options.model_name));
  VL2_ASSIGN_OR_RETURN(*info.mutable_model_id(), checkpoint.ModelId());
  VL2_RETURN_IF_ERROR(CheckModelId(info.model_id(), absl::GetFlag(FLAGS_expect_model_id)));
  const LanguageConfig& config = checkpoint.config().language_config;
  // Replicas go on with each other's streams where all of it is the same.
  info.set_weight_dtype(Cat(options.weights.Name(checkpoint.KeptType("language.lm_head.weight")),
                            options.cache_dtype == DType::kF32 ? "" : ", bf16 cache"));
  info.set_device(options.ops == "cpu" ? Cat("cpu ", CpuTarget()) : options.ops);
  info.set_hidden_size(config.hidden_size);
  info.set_max_context_tokens(config.max_position_embeddings);
  auto& limits = *info.mutable_limits();
  limits["cache_tokens"] = engine.scheduler.num_blocks * kBlockTokens;
  limits["max_running_sequences"] = engine.scheduler.max_running;
  limits["max_sequences"] = engine.max_sequences;
  limits["max_embedding_bytes"] = engine.scheduler.max_embedding_bytes;
  limits["slot_wait_timeout_ms"] = engine.scheduler.slot_wait_timeout_ms;
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
  VL2_ASSIGN_OR_RETURN(const auto tracer, StartTracer("language", port));
  VL2_ASSIGN_OR_RETURN(const auto checkpoint,
                       Checkpoint::Open(options.model, options.weights.type));
  VL2_ASSIGN_OR_RETURN(options.weights, checkpoint->Choose(options.weights));
  VL2_ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::Load(options.model));
  ThreadPool pool(options.threads > 0 ? options.threads : UsableCores());
  port.SetThreads(pool.num_threads());
  VL2_ASSIGN_OR_RETURN(const std::unique_ptr<Ops> ops, MakeOps(options.ops, &pool));

  EngineMetrics engine_metrics(port.metrics());
  EngineOptions engine_options =
      options.Engine(checkpoint->config().language_config, *ops, tokenizer.control_ids().end);
  engine_options.on_step = [&](const StepStats& step) { engine_metrics.OnStep(step); };
  VL2_RETURN_IF_ERROR(engine_options.Validate());
  VL2_ASSIGN_OR_RETURN(v1::ModelInfo info, MakeInfo(options, *checkpoint, engine_options));
  Log(Severity::kInfo, "loading",
      {{"model", options.model}, {"model_id", info.model_id()}, {"weights", info.weight_dtype()}});
  port.SetModelId(info.model_id());
  const auto num_bytes = static_cast<double>(checkpoint->NumBytes("language."));
  const auto progress = [&](int64_t bytes) {
    port.health().SetLoadProgress(static_cast<double>(bytes) / num_bytes);
  };
  const auto model = LanguageModel::Load(*checkpoint, *ops, progress, options.weights.policy);

  VL2_ASSIGN_OR_RETURN(const auto engine, Engine::Start(engine_options, *model));
  engine_metrics.Watch(*engine);
  StallCheck stalled("round of the engine", options.stall_timeout);
  port.health().AddCheck([&] {
    const EngineSnapshot now = engine->snapshot();
    return stalled.Check(now.in_round || now.num_commands > 0, now.num_rounds);
  });
  const CallerRule generate(port.metrics(), "language", "Generate", TlsIdentity::kGateway,
                            tls != nullptr);
  const CallerRule upload(port.metrics(), "language", "UploadEmbeddings", TlsIdentity::kVision,
                          tls != nullptr);
  options.service.generate_callers = &generate;
  options.service.upload_callers = &upload;
  LanguageServiceImpl service(options.service, *engine, engine_metrics, std::move(info),
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
  return vl2::ServiceMain(argc, argv, "lm_service",
                          "lm_service --model DIR [flags]\n"
                          "Token ids and embeddings in, token ids out: vl2.v1.LanguageService.",
                          &vl2::Run);
}
