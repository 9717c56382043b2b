#include "lm_service/service/language_service.h"

#include "lm_service/service/generate_call.h"
#include "lm_service/service/upload_call.h"
#include "runtime/base/status.h"

namespace vl2 {

absl::Status LanguageServiceOptions::Validate() const {
  if (max_waiting_events < 16) {
    return InvalidArgument("max_waiting_events ", max_waiting_events, " must be at least 16");
  }
  if (upload_retry_timeout_ms < 0) {
    return InvalidArgument("upload_retry_timeout_ms ", upload_retry_timeout_ms, " is negative");
  }
  return absl::OkStatus();
}

grpc::ServerWriteReactor<v1::GenerateEvent>* LanguageServiceImpl::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  return GenerateCall::Start(state_, *context, *request);
}

grpc::ServerReadReactor<v1::UploadRequest>* LanguageServiceImpl::UploadEmbeddings(
    grpc::CallbackServerContext* context, v1::UploadSummary* summary) {
  return UploadCall::Start(state_, *context, *summary);
}

grpc::ServerUnaryReactor* LanguageServiceImpl::GetModelInfo(grpc::CallbackServerContext* context,
                                                            const v1::GetModelInfoRequest* request,
                                                            v1::ModelInfo* info) {
  *info = state_.info;
  info->set_advertised_address(state_.Address());
  info->set_state(state_.gate.state());
  const EngineSnapshot now = state_.engine.snapshot();
  auto& load = *info->mutable_load();
  load["running_sequences"] = now.num_running;
  load["waiting_sequences"] = now.num_waiting;
  load["cache_used_tokens"] = now.num_blocks_in_use * kBlockTokens;
  load["cache_prefix_tokens"] = now.num_blocks_cached * kBlockTokens;
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace vl2
