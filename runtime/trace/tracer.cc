#include "runtime/trace/tracer.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/log.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status.h"
#include "runtime/trace/http_post.h"
#include "runtime/trace/span_queue.h"

namespace vl2 {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kDefaultPort = 4318;

// Random, in the form of a UUID of version 4.
std::string MakeInstanceId() {
  std::string id = ToHex(MakeTraceId());
  id[12] = '4';
  id[16] = '8';
  for (const size_t at : {20, 16, 12, 8}) id.insert(at, "-");
  return id;
}

bool MayBeRetried(const absl::StatusOr<HttpAnswer>& answer) {
  if (!answer.ok()) return true;
  const int status = answer->status;
  return status == 429 || status == 502 || status == 503 || status == 504;
}

}  // namespace

absl::Status TracerOptions::Validate() const {
  if (!(ratio >= 0 && ratio <= 1))
    return InvalidArgument("trace_ratio ", ratio, " is outside [0, 1]");
  if (max_queued_spans < 1 || max_batch_spans < 1 || max_attempts < 1) {
    return InvalidArgument("max_queued_spans ", max_queued_spans, ", max_batch_spans ",
                           max_batch_spans, " and max_attempts ", max_attempts,
                           " must be at least 1");
  }
  if (endpoint.empty()) return absl::OkStatus();
  return Annotate(ParseHttpEndpoint(endpoint, kDefaultPort).status(), "otlp_endpoint");
}

// The thread and what it shares with the tracer. It keeps itself: a name server that is silent may
// hold the thread longer than anybody waits for it.
class Tracer::Exporter {
 public:
  Exporter(const TracerOptions& options, HttpEndpoint endpoint)
      : options_(options),
        endpoint_(std::move(endpoint)),
        queue_(std::make_shared<SpanQueue>(options.max_queued_spans)) {}

  static std::shared_ptr<Exporter> Start(const TracerOptions& options, HttpEndpoint endpoint) {
    auto exporter = std::make_shared<Exporter>(options, std::move(endpoint));
    exporter->thread_ = std::thread([exporter] { exporter->Run(); });
    return exporter;
  }

  void Stop() {
    const Clock::time_point until = Clock::now() + options_.shutdown_timeout;
    bool ended = false;
    {
      MutexLock lock(&mutex_);
      stop_at_ = until;
      changed_.NotifyAll();
    }
    queue_->Close();
    {
      // A little more than the exporter has, so that it can count what it gives up.
      const Clock::time_point patience = until + std::chrono::milliseconds(200);
      MutexLock lock(&mutex_);
      while (!ended_ && changed_.WaitUntil(&mutex_, patience)) {
      }
      ended = ended_;
    }
    if (ended) {
      thread_.join();
    } else {
      thread_.detach();
    }
  }

  const std::shared_ptr<SpanQueue>& queue() const { return queue_; }

  TracerCounts counts() const {
    return {.num_queued = queue_->num_waiting(),
            .max_queued = queue_->max_spans(),
            .num_exported = num_exported_,
            .num_not_queued = queue_->num_dropped(),
            .num_not_delivered = num_not_delivered_};
  }

 private:
  void Run() {
    for (;;) {
      const SpanQueue::Batch batch = queue_->Pop(options_.max_batch_spans, options_.batch_interval);
      if (!batch.empty()) {
        Export(batch);
      } else if (stop_at() != Clock::time_point::max()) {
        break;
      }
    }
    MutexLock lock(&mutex_);
    ended_ = true;
    changed_.NotifyAll();
  }

  void Export(const SpanQueue::Batch& batch) {
    const auto num_spans = static_cast<int64_t>(batch.size());
    const std::string body = OtlpJson(options_.source, batch);
    auto pause = options_.retry_pause;
    absl::StatusOr<HttpAnswer> answer;
    for (int attempt = 1;; ++attempt) {
      const Clock::time_point give_up = Clock::now() + options_.post_timeout;
      answer =
          HttpPost(endpoint_, "/v1/traces", body, [&] { return std::min(give_up, stop_at()); });
      if (!MayBeRetried(answer) || attempt == options_.max_attempts || !WaitToRetry(pause)) break;
      pause *= 2;
    }
    const bool taken = answer.ok() && answer->status >= 200 && answer->status < 300;
    const int64_t rejected =
        taken ? std::clamp<int64_t>(RejectedSpans(answer->body), 0, num_spans) : num_spans;
    num_exported_ += num_spans - rejected;
    num_not_delivered_ += rejected;
    Tell(taken, answer);
  }

  // The first failure, and the first success after it.
  void Tell(bool taken, const absl::StatusOr<HttpAnswer>& answer) {
    if (taken == !failing_) return;
    failing_ = !taken;
    if (taken) return Log(Severity::kInfo, "spans are delivered again", {});
    Log(Severity::kWarning, "spans cannot be delivered and are dropped",
        {{"endpoint", endpoint_.ToString()},
         {"reason", answer.ok() ? Cat("HTTP status ", answer->status) : Message(answer.status())}});
  }

  // False when the tracer stops meanwhile: then there is one attempt for each batch.
  bool WaitToRetry(std::chrono::milliseconds pause) {
    const Clock::time_point until = Clock::now() + pause;
    MutexLock lock(&mutex_);
    while (stop_at_ == Clock::time_point::max() && changed_.WaitUntil(&mutex_, until)) {
    }
    return stop_at_ == Clock::time_point::max();
  }

  Clock::time_point stop_at() const {
    MutexLock lock(&mutex_);
    return stop_at_;
  }

  const TracerOptions options_;
  const HttpEndpoint endpoint_;
  const std::shared_ptr<SpanQueue> queue_;
  std::atomic<int64_t> num_exported_{0};
  std::atomic<int64_t> num_not_delivered_{0};
  bool failing_ = false;  // of the thread
  std::thread thread_;

  mutable Mutex mutex_;
  CondVar changed_;
  Clock::time_point stop_at_ ABSL_GUARDED_BY(mutex_) = Clock::time_point::max();
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

absl::StatusOr<std::unique_ptr<Tracer>> Tracer::Make(const TracerOptions& options) {
  VL2_RETURN_IF_ERROR(options.Validate());
  TracerOptions filled = options;
  if (filled.source.instance_id.empty()) filled.source.instance_id = MakeInstanceId();
  std::unique_ptr<Tracer> tracer(new Tracer(filled));
  if (options.endpoint.empty()) return tracer;
  VL2_ASSIGN_OR_RETURN(HttpEndpoint endpoint, ParseHttpEndpoint(options.endpoint, kDefaultPort));
  tracer->exporter_ = Exporter::Start(filled, std::move(endpoint));
  return tracer;
}

Tracer::~Tracer() {
  if (exporter_ != nullptr) exporter_->Stop();
}

TracePoint Tracer::Join(const TraceContext& parent) const {
  TracePoint point(parent);
  if (!enabled()) return point;
  if (parent.valid()) {
    point.is_remote_ = true;
  } else {
    point.context_ = {.trace_id = MakeTraceId()};
    point.context_.sampled = IsInRatio(point.context_.trace_id, options_.ratio);
    // Those who are asked next must hear that this trace is not recorded.
    if (!point.context_.sampled) point.context_.span_id = MakeSpanId();
  }
  if (!point.context_.sampled) return point;
  point.queue_ = exporter_->queue();
  const auto nanos = [](auto since) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(since.time_since_epoch()).count();
  };
  point.wall_nanos_ = nanos(std::chrono::system_clock::now()) - nanos(Clock::now());
  return point;
}

TracerCounts Tracer::Counts(const std::shared_ptr<Exporter>& exporter) {
  return exporter == nullptr ? TracerCounts() : exporter->counts();
}

}  // namespace vl2
