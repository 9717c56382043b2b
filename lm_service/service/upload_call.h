// UploadCall: one UploadEmbeddings call. Each chunk is checked and handed to the engine before the
// next is read, so that a full engine slows the uploader down instead of filling memory.
//
// Owns: itself, from Start to OnDone. Threading: gRPC calls one method at a time; the alarm fires
// only while no read is under way.
#pragma once

#include <chrono>

#include "grpcpp/alarm.h"
#include "grpcpp/support/server_callback.h"
#include "lm_service/service/language_service.h"
#include "runtime/trace/span.h"
#include "vl2/v1/language.pb.h"

namespace vl2 {

class UploadCall : public grpc::ServerReadReactor<v1::UploadRequest> {
 public:
  static UploadCall* Start(LanguageServiceState& state, grpc::CallbackServerContext& context,
                           v1::UploadSummary& summary);

  void OnReadDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  UploadCall(LanguageServiceState& state, v1::UploadSummary& summary)
      : state_(state), summary_(summary) {}
  absl::Status TakeHeader();
  absl::Status TakeChunk();
  // Hands the chunk in request_ to the engine; tries again a little later when that is full.
  void HandOver();
  void End(const absl::Status& status);

  LanguageServiceState& state_;
  v1::UploadSummary& summary_;
  v1::UploadRequest request_;  // being read, or being handed over
  v1::UploadHeader header_;
  bool has_header_ = false;
  Span span_;
  grpc::Alarm alarm_;
  std::chrono::steady_clock::time_point give_up_;  // for the chunk in request_
};

}  // namespace vl2
