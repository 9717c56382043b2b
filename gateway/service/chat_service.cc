#include "gateway/service/chat_service.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "gateway/service/wire.h"
#include "gateway/session/public_error.h"
#include "gateway/session/request_id.h"
#include "runtime/base/error_details.h"
#include "gateway/session/request_record.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status.h"
#include "runtime/rpc/bounded_message.h"
#include "runtime/rpc/grpc_status.h"
#include "runtime/rpc/trace_metadata.h"

namespace vl2::gateway {
namespace {

// One call. Keeps itself until gRPC is done with it.
class ChatCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                       public std::enable_shared_from_this<ChatCall> {
 public:
  ChatCall(const ChatServiceOptions& options, GatewayMetrics& metrics, const Tracer* tracer,
           const TraceContext& trace)
      : max_waiting_events_(options.max_waiting_events),
        metrics_(metrics),
        sees_reasons_(SeesReasons(options.keys != nullptr, nullptr)),
        record_(std::make_shared<RequestRecord>(tracer, "grpc", "vl2.v1.ChatService/Chat", trace)) {
    record_->Set("rpc.system", "grpc");
    record_->Set("rpc.service", "vl2.v1.ChatService");
    record_->Set("rpc.method", "Chat");
  }

  // Keeps this alive until OnDone.
  AdmissionController::Ticket& Admit(AdmissionController& admission, const std::string& client) {
    self_ = shared_from_this();
    ticket_ = admission.Begin(
        client,
        [weak = weak_from_this()](const absl::Status& status) {
          const auto self = weak.lock();
          if (self == nullptr) return;
          self->End(status);
          self->CancelSession();
        },
        AdmissionController::Clock::now(), key_ == nullptr ? 0 : key_->key().priority);
    return *ticket_;
  }

  // Before the request's work begins.
  void SetKey(std::unique_ptr<ApiKeys::Use> key) {
    key_ = std::move(key);
    sees_reasons_ = SeesReasons(true, &key_->key());
    record_->SetClient(key_->key().name);
  }
  // Names the request, to the client too; before Start.
  void SetRequestId(const std::string& id, grpc::CallbackServerContext& context) {
    record_->SetRequestId(id);
    context.AddInitialMetadata("x-request-id", id);
  }

  void Start(const ChatBackend& backend, absl::StatusOr<ChatTask> task) {
    if (!task.ok()) return End(task.status());
    task->trace = record_->trace();
    request_id_ = task->request_id;
    if (key_ != nullptr) {
      task->cache_salt = SaltOfTenant(key_->key().tenant, task->cache_salt);
      task->priority = key_->key().priority;
    }
    auto session = ChatSession::Start(backend, *std::move(task),
                                      [weak = weak_from_this(), record = record_](ChatEvent event) {
                                        record->Hear(event);
                                        const auto self = weak.lock();
                                        if (self != nullptr) self->OnEvent(std::move(event));
                                      });
    bool cancelled = false;
    {
      MutexLock lock(&mutex_);
      session_ = session;
      cancelled = cancelled_;
    }
    if (cancelled) session->Cancel();
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) waiting_.clear();
    WriteNext();
  }

  void OnCancel() override { CancelSession(); }

  void OnDone() override {
    CancelSession();
    const absl::Status status = [this] {
      MutexLock lock(&mutex_);
      // A client that left has heard nothing of how its call would have ended.
      return finished_ && status_ ? *status_ : absl::CancelledError("the client has left");
    }();
    metrics_.OnRequestEnd(Api::kGrpc,
                          key_ == nullptr ? GatewayMetrics::kNoClient : key_->key().name, status,
                          std::chrono::duration<double>(Clock::now() - start_).count());
    record_->Set("rpc.grpc.status_code", status.raw_code());
    record_->End(status);
    self_.reset();  // may destroy this
  }

 private:
  void CancelSession() {
    std::shared_ptr<ChatSession> session;
    {
      MutexLock lock(&mutex_);
      cancelled_ = true;
      session = std::move(session_);
    }
    if (session != nullptr) session->Cancel();
  }

  void OnEvent(ChatEvent event) {
    const auto* end = std::get_if<ChatEnd>(&event);
    if (end != nullptr && key_ != nullptr) {
      key_->Charge(end->prompt_tokens + end->generated_tokens);
    }
    if (end != nullptr && !end->status.ok()) {
      return End(PublicError(end->status, sees_reasons_, request_id_));
    }
    if (std::holds_alternative<TextDelta>(event)) ticket_->SetAnswering();
    auto wire = ToWire(event);
    if (!wire) return;
    bool overrun = false;
    {
      MutexLock lock(&mutex_);
      if (status_) return;
      overrun = waiting_.size() >= max_waiting_events_;
      if (!overrun) {
        waiting_.push_back(*std::move(wire));
        if (end != nullptr) status_ = absl::OkStatus();
        WriteNext();
      }
    }
    if (!overrun) return;
    End(WithReason(absl::ResourceExhaustedError(Cat("the client reads too slowly: ",
                                                    max_waiting_events_, " events wait for it")),
                   "client_too_slow"));
    CancelSession();
  }

  void End(absl::Status status) {
    MutexLock lock(&mutex_);
    if (status_) return;
    status_ = std::move(status);
    WriteNext();
  }

  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || finished_) return;
    if (!waiting_.empty()) {
      current_ = Serialized(waiting_.front());
      waiting_.pop_front();
      writing_ = true;
      return StartWrite(&current_);
    }
    if (!status_) return;
    finished_ = true;
    Finish(StatusToGrpc(*status_));
  }

  const size_t max_waiting_events_;
  GatewayMetrics& metrics_;
  bool sees_reasons_;
  std::string request_id_;
  const Clock::time_point start_ = Clock::now();
  std::shared_ptr<ChatCall> self_;
  std::unique_ptr<AdmissionController::Ticket> ticket_;
  std::unique_ptr<ApiKeys::Use> key_;
  const std::shared_ptr<RequestRecord> record_;

  Mutex mutex_;
  std::shared_ptr<ChatSession> session_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<v1::ChatEvent> waiting_ ABSL_GUARDED_BY(mutex_);
  grpc::ByteBuffer current_ ABSL_GUARDED_BY(mutex_);  // belongs to gRPC while writing_
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> status_ ABSL_GUARDED_BY(mutex_);  // how the call ends
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

// All values of a metadata key, in order.
std::string Joined(const grpc::CallbackServerContext& context, const char* key) {
  std::string all;
  const auto [begin, end] = context.client_metadata().equal_range(key);
  for (auto it = begin; it != end; ++it) {
    if (!all.empty()) all += ", ";
    all.append(it->second.data(), it->second.size());
  }
  return all;
}

}  // namespace

absl::StatusOr<ChatTask> ChatServiceImpl::Admit(const grpc::CallbackServerContext& context,
                                                const grpc::ByteBuffer& request,
                                                const std::string& client,
                                                AdmissionController::Ticket& ticket) const {
  VL2_RETURN_IF_ERROR(
      ticket.Grow(static_cast<int64_t>(request.Length()), AdmissionController::Clock::now()));
  VL2_RETURN_IF_ERROR(ticket.Enter());
  v1::ChatRequest message;
  VL2_RETURN_IF_ERROR(ParseBounded(request, kMaxRequestFields, message));
  VL2_ASSIGN_OR_RETURN(ChatTask task, TaskOf(message, options_.sampling));
  task.client_id = client;
  if (!IsRequestId(task.request_id)) task.request_id = MakeRequestId();
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      context.deadline() - std::chrono::system_clock::now());
  task.deadline = Clock::now() + std::min(left, options_.request_timeout);
  return task;
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* ChatServiceImpl::Chat(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  auto call = std::make_shared<ChatCall>(options_, metrics_, backend_.tracer,
                                         TraceparentOf(*context));
  std::string client = ClientId(
      ClientAddress(AddressOfGrpcPeer(context->peer()), Joined(*context, "x-forwarded-for"),
                    Joined(*context, "forwarded"), options_.trusted_proxies));
  absl::Status allowed;
  if (options_.keys != nullptr) {
    auto key = options_.keys->Begin(Joined(*context, "authorization"), ApiKeys::Clock::now());
    allowed = key.status();
    if (key.ok()) {
      client = ClientIdOfKey((*key)->key(), client);
      call->SetKey(*std::move(key));
    }
  }
  AdmissionController::Ticket& ticket = call->Admit(admission_, client);
  auto task =
      allowed.ok() ? Admit(*context, *request, client, ticket) : absl::StatusOr<ChatTask>(allowed);
  call->SetRequestId(task.ok() ? task->request_id : MakeRequestId(), *context);
  call->Start(backend_, std::move(task));
  return call.get();
}

absl::StatusOr<std::optional<ApiKey>> ChatServiceImpl::FindKey(
    const grpc::CallbackServerContext& context) const {
  if (options_.keys == nullptr) return std::nullopt;
  VL2_ASSIGN_OR_RETURN(ApiKey key, options_.keys->Find(Joined(context, "authorization")));
  return key;
}

grpc::ServerUnaryReactor* ChatServiceImpl::GetModelInfo(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer*,
                                                        grpc::ByteBuffer* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto key = FindKey(*context);
  absl::Status status = key.status();
  if (!status.ok()) {
    reactor->Finish(StatusToGrpc(status));
    return reactor;
  }
  if (auto info = info_(); info.ok()) {
    info->set_model_name(options_.model_name);
    info->clear_advertised_address();
    *response = Serialized(*info);
  } else {
    status = PublicError(info.status(),
                         SeesReasons(key->has_value(), key->has_value() ? &**key : nullptr), "");
  }
  reactor->Finish(StatusToGrpc(status));
  return reactor;
}

grpc::ServerUnaryReactor* ChatServiceImpl::GetClusterInfo(grpc::CallbackServerContext* context,
                                                          const grpc::ByteBuffer*,
                                                          grpc::ByteBuffer* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const auto key = FindKey(*context);
  absl::Status allowed = key.status();
  if (key.ok() && key->has_value() && !(*key)->is_admin) {
    allowed = absl::PermissionDeniedError(Cat(
        "the key ", (*key)->name, " is no admin's: the services' addresses are not for everybody"));
  }
  if (!allowed.ok()) {
    reactor->Finish(StatusToGrpc(allowed));
    return reactor;
  }
  v1::ClusterInfo cluster = cluster_();
  cluster.set_model_name(options_.model_name);
  auto& limits = *cluster.mutable_limits();
  limits["max_in_flight_requests"] = options_.max_in_flight;
  limits["max_message_bytes"] = options_.max_message_bytes;
  limits["request_timeout_ms"] = options_.request_timeout.count();
  *response = Serialized(cluster);
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace vl2::gateway
