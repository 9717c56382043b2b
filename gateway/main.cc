// gateway: chat over HTTP and gRPC in front of the model services. See --help; every flag can be
// set as VL2_<FLAG> too.
#include <malloc.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "absl/flags/flag.h"
#include "gateway/http/http_server.h"
#include "gateway/service/chat_service.h"
#include "gateway/session/timer_queue.h"
#include "gateway/upstream/upstreams.h"
#include "runtime/base/log.h"
#include "runtime/base/model_folder.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status.h"
#include "runtime/rpc/metrics_port.h"
#include "runtime/rpc/port_file.h"
#include "runtime/rpc/server_scaffold.h"
#include "runtime/rpc/service_main.h"
#include "runtime/rpc/tls_flags.h"
#include "runtime/rpc/tls_identity.h"
#include "runtime/rpc/trace_flags.h"
#include "text/tokenizer.h"

ABSL_FLAG(std::string, model, "",
          "Folder of a DeepSeek-VL2 checkpoint; only its tokenizer files are read.");
ABSL_FLAG(std::string, model_name, "", "Name shown to clients; empty: the folder's name.");
ABSL_FLAG(std::string, lm, "127.0.0.1:50061",
          "Language services: comma-separated host:port; a name stands for all its addresses.");
ABSL_FLAG(std::string, vision, "127.0.0.1:50062", "Vision services, in the same way.");
ABSL_FLAG(std::string, http_listen, "127.0.0.1:8080", "host:port for HTTP; port 0: any free one.");
ABSL_FLAG(std::string, grpc_listen, "127.0.0.1:50060", "host:port for gRPC; port 0: any free one.");
ABSL_FLAG(std::string, metrics_listen, "127.0.0.1:9060",
          "host:port for /metrics, /livez and /readyz; empty: none.");
ABSL_FLAG(std::string, port_file, "",
          "File that gets the line \"listening gateway HTTP grpc GRPC metrics METRICS\" once all "
          "listeners are open; empty: none.");
ABSL_FLAG(
    std::string, api_keys, "",
    "File of the keys that clients must show (Authorization: Bearer KEY, over HTTP and gRPC); "
    "read again when it changes. Lines: name, sha256 of the key, tenant, requests a minute, "
    "concurrent requests, tokens a minute ('-': no limit), and admin or nothing. Empty: no keys.");
ABSL_FLAG(std::string, cors_origin, "",
          "Origins whose pages may call, comma-separated, or *; empty: no page of another origin.");
ABSL_FLAG(std::string, allowed_hosts, "",
          "Names (the Host header) that a gateway on a loopback address without a key answers to, "
          "beside loopback names and names without a dot; comma-separated, * for every name, which "
          "also lets web pages of other origins post.");
ABSL_FLAG(
    std::string, trusted_proxies, "",
    "Addresses and networks, comma-separated (10.0.0.0/8), whose X-Forwarded-For or Forwarded "
    "says which client a request comes from.");
ABSL_FLAG(double, temperature, 0.4, "Sampling temperature when a request has none.");
ABSL_FLAG(double, top_p, 0.9, "top_p when a request has none.");
ABSL_FLAG(int64_t, top_k, 50, "top_k when a request has none; 0: off.");
ABSL_FLAG(double, repetition_penalty, 1.1, "repetition_penalty when a request has none.");
ABSL_FLAG(int, http_threads, 2, "Threads that serve HTTP connections.");
ABSL_FLAG(int64_t, max_connections, 4096, "HTTP connections at a time.");
ABSL_FLAG(int64_t, max_in_flight, 256, "Chat requests at a time, for HTTP and gRPC each.");
ABSL_FLAG(int64_t, max_body_bytes, int64_t{64} << 20, "Bytes of a request.");
ABSL_FLAG(int64_t, max_held_body_bytes, int64_t{1} << 30,
          "Bytes of all chat requests in flight together, for HTTP and gRPC each.");
ABSL_FLAG(int64_t, body_timeout_ms, 60'000,
          "Time for the body of an HTTP chat request to arrive, milliseconds.");
ABSL_FLAG(int64_t, min_body_rate, 16 << 10,
          "Bytes per second that such a body must come with, after --body_grace_ms.");
ABSL_FLAG(int64_t, body_grace_ms, 5'000, "Milliseconds before --min_body_rate holds.");
ABSL_FLAG(std::string, image_hosts, "",
          "Hosts that pictures given by http(s) address are fetched from, comma-separated: "
          "example.org, .example.org (and all below it), * (any); with :port for another port than "
          "80 and 443. Empty: none are fetched.");
ABSL_FLAG(bool, image_hosts_private, false,
          "Fetch from --image_hosts also when their addresses are not public ones.");
ABSL_FLAG(std::string, name_servers, "",
          "address:port of the servers that tell the addresses of --image_hosts, comma-separated; "
          "empty: the system's.");
ABSL_FLAG(int64_t, image_url_max_bytes, int64_t{20} << 20, "Bytes of a fetched picture.");
ABSL_FLAG(int64_t, image_url_timeout_ms, 10'000,
          "Time to fetch one picture, redirects included, milliseconds.");
ABSL_FLAG(int64_t, request_timeout_ms, 600'000, "Duration of a request at most, milliseconds.");
ABSL_FLAG(int64_t, sse_comment_ms, 10'000,
          "A stream that is silent this long gets a comment, milliseconds.");
ABSL_FLAG(int64_t, drain_timeout_ms, 30'000,
          "How long running requests may go on after SIGTERM, milliseconds.");
ABSL_FLAG(
    std::string, model_id, "",
    "The model that new requests go to while replicas of both services run it; empty: the one in "
    "use.");
ABSL_FLAG(int64_t, replica_wait_ms, 1000,
          "How long a request waits for replicas that can serve it, milliseconds.");
ABSL_FLAG(int64_t, resolve_interval_ms, 5000,
          "How often the names in --lm and --vision are resolved, milliseconds.");
ABSL_FLAG(
    int64_t, max_connection_age_ms, 0,
    "Age at which a gRPC client is asked to connect again, so that its calls reach gateways that "
    "came later, milliseconds; 0: never.");
ABSL_FLAG(int64_t, probe_interval_ms, 1000, "How often replicas are asked whether they are there.");
ABSL_FLAG(int64_t, probe_timeout_ms, 3000,
          "How long such an answer may take, milliseconds. A replica that is late three times in a "
          "row, while another is not, is taken for hung.");
ABSL_FLAG(std::string, public_tls_cert, "",
          "PEM file of the certificate that gRPC clients see; they need none. Empty: no TLS on "
          "--grpc_listen. HTTP has none here: it ends at whatever stands in front.");
ABSL_FLAG(std::string, public_tls_key, "", "PEM file of its key.");
ABSL_FLAG(bool, prepare, true,
          "Start encoding pictures before the language service asks for them.");
ABSL_FLAG(bool, stream_rows, true,
          "Send tile rows as they are encoded; false: whole pictures (for measurements).");

namespace vl2::gateway {
namespace {

struct Options {
  std::string model = absl::GetFlag(FLAGS_model);
  std::string port_file = absl::GetFlag(FLAGS_port_file);
  std::string metrics_listen = absl::GetFlag(FLAGS_metrics_listen);
  std::chrono::milliseconds drain_timeout{absl::GetFlag(FLAGS_drain_timeout_ms)};
  UpstreamOptions upstreams = {
      .language_targets = absl::GetFlag(FLAGS_lm),
      .vision_targets = absl::GetFlag(FLAGS_vision),
      .model_id = absl::GetFlag(FLAGS_model_id),
      .whole_picture_first = !absl::GetFlag(FLAGS_stream_rows),
      .resolve_interval = std::chrono::milliseconds(absl::GetFlag(FLAGS_resolve_interval_ms)),
      .probe_interval = std::chrono::milliseconds(absl::GetFlag(FLAGS_probe_interval_ms)),
      .probe_timeout = std::chrono::milliseconds(absl::GetFlag(FLAGS_probe_timeout_ms))};
  SamplingChoice sampling;
  HttpOptions http;
  ChatServiceOptions chat;
  ServerOptions grpc;
  TlsOptions peer_tls = PeerTlsFromFlags();
  TlsOptions public_tls = {.name = "public_tls",
                           .cert = absl::GetFlag(FLAGS_public_tls_cert),
                           .key = absl::GetFlag(FLAGS_public_tls_key),
                           .needs_ca = false,
                           .refresh_ms = peer_tls.refresh_ms};

  absl::Status Fill();
};

absl::Status Options::Fill() {
  if (model.empty()) return InvalidArgument("--model is needed, see --help");
  std::string name = absl::GetFlag(FLAGS_model_name);
  if (name.empty()) name = ModelNameOfFolder(model);
  sampling.temperature = absl::GetFlag(FLAGS_temperature);
  sampling.top_p = absl::GetFlag(FLAGS_top_p);
  sampling.top_k = absl::GetFlag(FLAGS_top_k);
  sampling.repetition_penalty = absl::GetFlag(FLAGS_repetition_penalty);
  http.listen = absl::GetFlag(FLAGS_http_listen);
  http.model_name = name;
  http.cors_origin = absl::GetFlag(FLAGS_cors_origin);
  http.allowed_hosts = absl::GetFlag(FLAGS_allowed_hosts);
  VL2_ASSIGN_OR_RETURN(http.trusted_proxies,
                       TrustedProxies::Parse(absl::GetFlag(FLAGS_trusted_proxies)));
  http.sampling = sampling;
  http.num_threads = absl::GetFlag(FLAGS_http_threads);
  http.max_connections = absl::GetFlag(FLAGS_max_connections);
  http.max_in_flight = absl::GetFlag(FLAGS_max_in_flight);
  http.max_body_bytes = static_cast<uint64_t>(absl::GetFlag(FLAGS_max_body_bytes));
  http.max_held_body_bytes = absl::GetFlag(FLAGS_max_held_body_bytes);
  VL2_ASSIGN_OR_RETURN(http.fetch.hosts, HostAllowList::Parse(absl::GetFlag(FLAGS_image_hosts)));
  http.fetch.private_hosts = absl::GetFlag(FLAGS_image_hosts_private);
  http.fetch.name_servers = absl::GetFlag(FLAGS_name_servers);
  http.fetch.max_bytes = absl::GetFlag(FLAGS_image_url_max_bytes);
  http.fetch.timeout = std::chrono::milliseconds(absl::GetFlag(FLAGS_image_url_timeout_ms));
  http.body_timeout = std::chrono::milliseconds(absl::GetFlag(FLAGS_body_timeout_ms));
  http.min_body_rate = absl::GetFlag(FLAGS_min_body_rate);
  http.body_grace = std::chrono::milliseconds(absl::GetFlag(FLAGS_body_grace_ms));
  http.request_timeout = std::chrono::milliseconds(absl::GetFlag(FLAGS_request_timeout_ms));
  http.sse_comment_interval = std::chrono::milliseconds(absl::GetFlag(FLAGS_sse_comment_ms));
  chat.model_name = name;
  chat.sampling = sampling;
  chat.max_in_flight = http.max_in_flight;
  chat.max_held_bytes = http.max_held_body_bytes;
  chat.trusted_proxies = http.trusted_proxies;
  chat.request_timeout = http.request_timeout;
  grpc.service_name = "gateway";
  grpc.listen = absl::GetFlag(FLAGS_grpc_listen);
  grpc.max_message_bytes = absl::GetFlag(FLAGS_max_body_bytes);
  chat.max_message_bytes = grpc.max_message_bytes;
  grpc.drain_timeout_ms = drain_timeout.count();
  grpc.max_connection_age_ms = absl::GetFlag(FLAGS_max_connection_age_ms);
  grpc.reflection = ReflectionFromFlags();
  VL2_RETURN_IF_ERROR(http.Validate());
  return grpc.Validate();
}

// Bodies and images are large and short-lived. The allocator would take their size for usual, keep
// them in its arenas from then on, and give little back; with a fixed threshold they go when they
// are freed.
void GiveLargeBlocksBack() {
  constexpr int kLargeBytes = 512 << 10;
  mallopt(M_MMAP_THRESHOLD, kLargeBytes);
  mallopt(M_TRIM_THRESHOLD, kLargeBytes);
}

// As many open files as the system lets this process have; a warning when connections need more.
void RaiseFileLimit(int64_t max_connections) {
  constexpr int64_t kOtherFiles = 256;
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
  if (static_cast<int64_t>(limit.rlim_cur) >= max_connections + kOtherFiles) return;
  Log(Severity::kWarning, "fewer files may be open than --max_connections needs",
      {{"limit", static_cast<int64_t>(limit.rlim_cur)}, {"max_connections", max_connections}});
}

void WatchUpstreams(Metrics& metrics, const Upstreams& upstreams,
                    const std::atomic<int64_t>& num_waiting) {
  metrics.AddSource([&](MetricSamples& samples) {
    for (const auto& [name, set] : {std::pair("language", &upstreams.language_replicas()),
                                    std::pair("vision", &upstreams.vision_replicas())}) {
      for (const ReplicaHealth health : kReplicaHealths) {
        samples.Gauge("vl2_gateway_replicas", "Replicas by state.", set->num_replicas(health),
                      {{"service", name}, {"state", NameOf(health)}});
      }
      samples.Counter("vl2_gateway_resolve_failures_total",
                      "Attempts to resolve names that failed.",
                      static_cast<double>(set->num_resolve_failures()), {{"service", name}});
      samples.Gauge("vl2_gateway_upstream_calls", "Calls under way at replicas.",
                    static_cast<double>(set->num_outstanding()), {{"service", name}});
    }
    int num_complete = 0, num_incomplete = 0;
    for (const auto& [model_id, pool] : upstreams.pools()) {
      ++(pool.complete() ? num_complete : num_incomplete);
    }
    samples.Gauge("vl2_gateway_pools", "Models by whether both services have a replica of them.",
                  num_complete, {{"state", "complete"}});
    samples.Gauge("vl2_gateway_pools", "Models by whether both services have a replica of them.",
                  num_incomplete, {{"state", "incomplete"}});
    samples.Gauge("vl2_gateway_waiting_for_replicas", "Chat requests that wait for replicas.",
                  static_cast<double>(num_waiting));
    samples.Gauge("vl2_gateway_waiting_for_replicas_limit", "These at most: all in flight.",
                  static_cast<double>(2 * absl::GetFlag(FLAGS_max_in_flight)));
    samples.Gauge("vl2_gateway_ready", "1 when there is a complete pool.", upstreams.Ready().ok());
  });
}

// Fails when the timers' thread, which every request needs, does not get to a call for a minute.
class TimerCheck {
 public:
  explicit TimerCheck(TimerQueue& timers) : timers_(timers) {}
  absl::Status Check() {
    MutexLock lock(&mutex_);
    const absl::Status status = stalled_.Check(num_asked_ > *num_run_, *num_run_);
    // One at a time: they must not pile up behind one that hangs.
    if (num_asked_ == *num_run_) {
      ++num_asked_;
      timers_.At(Clock::now(), [num_run = num_run_] { ++*num_run; });
    }
    return status;
  }

 private:
  TimerQueue& timers_;
  StallCheck stalled_{"timer", std::chrono::minutes(1)};
  const std::shared_ptr<std::atomic<int64_t>> num_run_ = std::make_shared<std::atomic<int64_t>>(0);
  Mutex mutex_;
  int64_t num_asked_ ABSL_GUARDED_BY(mutex_) = 0;
};

absl::Status Run(TerminationSignal& signal) {
  Options options;
  VL2_RETURN_IF_ERROR(options.Fill());
  RaiseFileLimit(options.http.max_connections);
  GiveLargeBlocksBack();
  MetricsPort port;
  VL2_ASSIGN_OR_RETURN(const auto peer_tls, TlsIdentity::Open(options.peer_tls, port.metrics()));
  VL2_ASSIGN_OR_RETURN(const auto public_tls,
                       TlsIdentity::Open(options.public_tls, port.metrics()));
  if (peer_tls != nullptr) options.upstreams.credentials = peer_tls->ForChannels();
  if (public_tls != nullptr) options.grpc.credentials = public_tls->ForServer();
  const MetricsPort::Closer tls_closer(port);
  VL2_RETURN_IF_ERROR(port.Open(options.metrics_listen));
  VL2_ASSIGN_OR_RETURN(const auto tracer, StartTracer("gateway", port));
  VL2_ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::Load(options.model));
  port.health().SetLoadProgress(1);
  TimerQueue timers;
  VL2_ASSIGN_OR_RETURN(const auto upstreams, Upstreams::Start(options.upstreams));
  ChatBackend backend;
  backend.tokenizer = &tokenizer;
  backend.language = &upstreams->language();
  backend.vision = &upstreams->vision();
  backend.timers = &timers;
  backend.tracer = tracer.get();
  backend.model_name = options.http.model_name;
  backend.admit = [&upstreams](bool with_images) { return upstreams->PoolForRequest(with_images); };
  backend.replica_wait = std::chrono::milliseconds(absl::GetFlag(FLAGS_replica_wait_ms));
  std::atomic<int64_t> num_waiting{0};
  backend.num_waiting = &num_waiting;
  backend.prepare = absl::GetFlag(FLAGS_prepare);

  const auto pools = [&upstreams] { return upstreams->Ready(); };
  GatewayMetrics metrics(port.metrics());
  std::unique_ptr<ApiKeys> keys;
  if (const std::string path = absl::GetFlag(FLAGS_api_keys); !path.empty()) {
    VL2_ASSIGN_OR_RETURN(
        keys, ApiKeys::Open(path, [&metrics](const std::string& client, const char* limit) {
          metrics.OnLimited(client, limit);
        }));
  }
  port.metrics().AddSource([keys = keys.get()](MetricSamples& samples) {
    samples.Gauge("vl2_gateway_keys", "Keys that clients may show; 0: none is asked for.",
                  keys == nullptr ? 0 : static_cast<double>(keys->num_keys()));
    samples.Counter("vl2_gateway_key_reloads_failed_total", "Key files that could not be read.",
                    keys == nullptr ? 0 : static_cast<double>(keys->num_failed_reloads()));
  });
  options.http.keys = options.chat.keys = keys.get();
  backend.observer = &metrics;
  ChatServiceImpl chat(
      options.chat, backend, metrics, [&upstreams] { return upstreams->ModelInfo(); },
      [&upstreams] { return upstreams->ClusterInfo(); });
  WatchUpstreams(port.metrics(), *upstreams, num_waiting);
  TimerCheck timers_run(timers);
  port.health().AddCheck([&timers_run] { return timers_run.Check(); });
  const MetricsPort::Closer closer(port);
  VL2_ASSIGN_OR_RETURN(const auto server, ServerScaffold::Start(options.grpc, {&chat}, port));
  VL2_ASSIGN_OR_RETURN(const auto http, HttpServer::Start(options.http, backend, metrics, pools));
  const MetricsPort::Closer http_closer(port);  // before `http` goes, which metrics ask
  const std::string line = Cat("listening gateway ", http->address(), " grpc ", server->address(),
                               " metrics ", port.address().empty() ? "-" : port.address());
  VL2_RETURN_IF_ERROR(WritePortFile(options.port_file, line));
  Log(Severity::kInfo, line);
  server->SetServing(true);
  const int number = signal.Wait();
  Log(Severity::kInfo, "stopping", {{"signal", number}});
  server->SetServing(false);
  // Both at once: there is one deadline. Calls over gRPC are told why they end just before theirs.
  const Clock::time_point deadline = Clock::now() + options.drain_timeout;
  timers.At(deadline, [&chat] { chat.EndAll(ShuttingDown()); });
  std::thread http_drain([&] { http->Drain(options.drain_timeout); });
  constexpr std::chrono::milliseconds kGoodbye{2000};
  server->WaitForClientsToMove(options.drain_timeout.count());
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  server->Drain(std::max(left + kGoodbye, kGoodbye).count());
  http_drain.join();
  return absl::OkStatus();
}

}  // namespace
}  // namespace vl2::gateway

int main(int argc, char** argv) {
  return vl2::ServiceMain(
      argc, argv, "gateway",
      "gateway --model DIR --lm HOST:PORT --vision HOST:PORT [flags]\n"
      "Chat with pictures over HTTP (OpenAI-compatible) and gRPC (vl2.v1.ChatService).",
      &vl2::gateway::Run);
}
