#include "gateway/upstream/language_client.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "gateway/upstream/replica_loss.h"
#include "grpcpp/client_context.h"
#include "runtime/base/status.h"
#include "runtime/rpc/call_span.h"
#include "runtime/rpc/grpc_status.h"
#include "vl2/v1/language.grpc.pb.h"

namespace vl2::gateway {
namespace {

void FillSampling(const SamplingChoice& from, v1::SamplingParams& to) {
  to.set_temperature(from.temperature);
  to.set_top_p(from.top_p);
  to.set_top_k(from.top_k);
  to.set_min_p(from.min_p);
  to.set_repetition_penalty(from.repetition_penalty);
  to.set_presence_penalty(from.presence_penalty);
  to.set_frequency_penalty(from.frequency_penalty);
  for (const auto& [id, bias] : from.logit_bias) (*to.mutable_logit_bias())[id] = bias;
  to.set_seed(from.seed);
  to.set_logprobs(from.logprobs);
  to.set_top_logprobs(from.top_logprobs);
}

v1::GenerateRequest MakeRequest(const GenerateCall& call) {
  v1::GenerateRequest request;
  request.set_request_id(call.request_id);
  request.set_model_id(call.model_id);
  for (const PromptSegment& segment : *call.segments) {
    v1::PromptSegment& to = *request.add_segments();
    if (const auto* image = std::get_if<PromptImage>(&segment)) {
      to.mutable_image()->set_content_key(image->content_key);
      to.mutable_image()->set_num_embeddings(image->num_embeddings);
    } else {
      const auto& ids = std::get<std::vector<int32_t>>(segment);
      to.mutable_tokens()->mutable_ids()->Add(ids.begin(), ids.end());
    }
  }
  request.mutable_generated_prefix()->Add(call.generated_prefix.begin(),
                                          call.generated_prefix.end());
  request.set_num_samples(call.num_samples);
  FillSampling(call.sampling, *request.mutable_sampling());
  request.set_max_new_tokens(call.max_new_tokens);
  request.mutable_stop_token_ids()->Add(call.stop_token_ids.begin(), call.stop_token_ids.end());
  request.set_ignore_end_token(call.ignore_end_token);
  request.set_cache_salt(call.cache_salt);
  request.set_client_id(call.client_id);
  request.set_priority(call.priority);
  request.set_image_token_id(call.image_token_id);
  return request;
}

GenerateTokens TokensOf(const v1::Tokens& from) {
  GenerateTokens to;
  to.sample = from.sample();
  to.tokens.reserve(from.tokens_size());
  for (const v1::Token& token : from.tokens()) {
    AnswerToken answer{token.id(), token.logprob(), {}};
    for (const v1::TokenLogprob& top : token.top_logprobs()) {
      answer.top.push_back({top.id(), top.logprob()});
    }
    to.tokens.push_back(std::move(answer));
  }
  return to;
}

// One Generate call. Keeps itself until gRPC is done with it.
class GenerateReactor final : public GenerateStream,
                              public grpc::ClientReadReactor<v1::GenerateEvent> {
 public:
  static std::shared_ptr<GenerateReactor> Start(ReplicaSet* replicas,
                                                std::shared_ptr<ReplicaLease> lease,
                                                const GenerateCall& call, GenerateSink sink) {
    auto reactor = std::make_shared<GenerateReactor>();
    reactor->replicas_ = replicas;
    reactor->stub_ = v1::LanguageService::NewStub(lease->replica().channel);
    reactor->lease_ = std::move(lease);
    reactor->sink_ = std::move(sink);
    reactor->request_ = MakeRequest(call);
    if (call.deadline != Clock::time_point::max()) {
      reactor->context_.set_deadline(std::chrono::system_clock::now() +
                                     (call.deadline - Clock::now()));
    }
    reactor->span_.Begin(call.trace, {"vl2.v1.LanguageService", "Generate"}, reactor->replica(),
                         call.lost, reactor->context_);
    reactor->self_ = reactor;
    reactor->lease_->WhenHung([weak = std::weak_ptr(reactor)] {
      if (const auto self = weak.lock()) self->context_.TryCancel();
    });
    reactor->stub_->async()->Generate(&reactor->context_, &reactor->request_, reactor.get());
    reactor->StartRead(&reactor->event_);
    reactor->StartCall();
    return reactor;
  }

  const std::string& replica() const override { return lease_->replica().address; }
  const std::string& pool() const override { return lease_->pool(); }
  TraceContext trace() const override { return span_.context(); }
  void Cancel() override {
    span_.End(absl::CancelledError());
    context_.TryCancel();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    switch (event_.event_case()) {
      case v1::GenerateEvent::kAccepted: {
        const v1::Accepted& accepted = event_.accepted();
        sink_(GenerateAccepted{accepted.sequence_id(), accepted.prompt_tokens(),
                               accepted.cached_tokens(), accepted.address()});
        break;
      }
      case v1::GenerateEvent::kSlotNeeded: {
        const v1::SlotNeeded& needed = event_.slot_needed();
        sink_(GenerateSlotNeeded{needed.slot(), needed.first_embedding(), needed.upload_token()});
        break;
      }
      case v1::GenerateEvent::kPrefill:
        sink_(GeneratePrefill{event_.prefill().done_tokens(), event_.prefill().prompt_tokens()});
        break;
      case v1::GenerateEvent::kTokens:
        sink_(TokensOf(event_.tokens()));
        break;
      case v1::GenerateEvent::kSampleFinished:
        sink_(GenerateSampleEnd{event_.sample_finished().sample(),
                                event_.sample_finished().reason() == v1::FINISH_REASON_LENGTH
                                    ? FinishReason::kLength
                                    : FinishReason::kStop});
        break;
      case v1::GenerateEvent::kFinished:  // the samples' ends say it all
      case v1::GenerateEvent::EVENT_NOT_SET:
        break;
    }
    StartRead(&event_);
  }

  void OnDone(const grpc::Status& status) override {
    absl::Status result = GrpcToStatus(status);
    // Another process has taken the address since it was asked who is there.
    if (absl::IsFailedPrecondition(result)) {
      result = absl::UnavailableError(Message(result));
      replicas_->ReportUnreachable(lease_->replica());
    }
    ReportLoss(result, context_, *replicas_, lease_->replica());
    span_.End(result);
    sink_(GenerateClosed{result});
    sink_ = nullptr;
    self_.reset();  // may destroy this
  }

 private:
  ReplicaSet* replicas_ = nullptr;
  std::shared_ptr<ReplicaLease> lease_;
  std::unique_ptr<v1::LanguageService::Stub> stub_;
  grpc::ClientContext context_;
  v1::GenerateRequest request_;
  v1::GenerateEvent event_;
  GenerateSink sink_;
  CallSpan span_;
  std::shared_ptr<GenerateReactor> self_;
};

}  // namespace

int64_t LanguageClient::max_context_tokens(const std::string& model_id) const {
  int64_t least = 0;
  for (const auto& [address, info] : replicas_->infos()) {
    if (!model_id.empty() && info.model_id() != model_id) continue;
    const int64_t context = info.max_context_tokens();
    if (context > 0) least = least == 0 ? context : std::min(least, context);
  }
  return least;
}

absl::StatusOr<std::shared_ptr<GenerateStream>> LanguageClient::Generate(const GenerateCall& call,
                                                                         GenerateSink sink) {
  auto lease = replicas_->Pick({call.model_id, call.pool, call.avoid, call.affinity});
  if (!lease.ok()) return lease.status();
  return GenerateReactor::Start(replicas_, *std::move(lease), call, std::move(sink));
}

absl::StatusOr<v1::ModelInfo> LanguageClient::Probe(const std::shared_ptr<grpc::Channel>& channel,
                                                    std::chrono::milliseconds timeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  v1::ModelInfo info;
  const auto stub = v1::LanguageService::NewStub(channel);
  const grpc::Status status = stub->GetModelInfo(&context, {}, &info);
  if (!status.ok()) return GrpcToStatus(status);
  return info;
}

}  // namespace vl2::gateway
