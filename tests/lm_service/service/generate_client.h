// What tests of the language service share: requests, and the events of a call read to its end.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "runtime/base/crc32c.h"
#include "vl2/v1/language.grpc.pb.h"

namespace vl2 {

inline std::unique_ptr<v1::LanguageService::Stub> LanguageStub(const std::string& address) {
  return v1::LanguageService::NewStub(
      grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
}

// A greedy request of `num_tokens` made-up prompt tokens.
inline v1::GenerateRequest TextRequest(int num_tokens, int64_t max_new_tokens) {
  v1::GenerateRequest request;
  auto& ids = *request.add_segments()->mutable_tokens();
  for (int i = 0; i < num_tokens; ++i) ids.add_ids(2 + i * 13 % 500);
  request.mutable_sampling()->set_temperature(0);
  request.set_max_new_tokens(max_new_tokens);
  request.set_image_token_id(510);
  return request;
}

// The same with a picture of `num_embeddings` behind the text.
inline v1::GenerateRequest PictureRequest(int64_t num_embeddings, int64_t max_new_tokens) {
  v1::GenerateRequest request = TextRequest(5, max_new_tokens);
  request.add_segments()->mutable_image()->set_num_embeddings(num_embeddings);
  request.add_segments()->mutable_tokens()->add_ids(7);
  return request;
}

struct CallRecord {
  std::vector<v1::GenerateEvent> events;
  std::map<int, std::vector<int32_t>> ids;  // by sample
  grpc::Status status;
};

// Reads one event; stores it. False at the end of the stream.
inline bool ReadEvent(grpc::ClientReader<v1::GenerateEvent>& reader, CallRecord& record) {
  v1::GenerateEvent event;
  if (!reader.Read(&event)) {
    record.status = reader.Finish();
    return false;
  }
  for (const v1::Token& token : event.tokens().tokens()) {
    record.ids[event.tokens().sample()].push_back(token.id());
  }
  record.events.push_back(std::move(event));
  return true;
}

inline CallRecord RunGenerate(const std::string& address, const v1::GenerateRequest& request) {
  const auto stub = LanguageStub(address);
  grpc::ClientContext context;
  const auto reader = stub->Generate(&context, request);
  CallRecord record;
  while (ReadEvent(*reader, record)) {
  }
  return record;
}

inline v1::UploadRequest ChunkOf(const std::vector<float>& rows, int64_t first, int64_t count) {
  v1::UploadRequest request;
  v1::UploadChunk& chunk = *request.mutable_chunk();
  chunk.set_first_embedding(first);
  chunk.set_num_embeddings(count);
  chunk.set_data(rows.data(), rows.size() * sizeof(float));
  chunk.set_crc32c(Crc32c(chunk.data()));
  return request;
}

// Sends the messages; the call's status, and the summary when asked for.
inline grpc::Status Upload(const std::string& address, const v1::UploadHeader& header,
                           const std::vector<v1::UploadRequest>& chunks,
                           v1::UploadSummary* summary_out = nullptr) {
  const auto stub = LanguageStub(address);
  grpc::ClientContext context;
  v1::UploadSummary summary;
  const auto writer = stub->UploadEmbeddings(&context, &summary);
  v1::UploadRequest first;
  *first.mutable_header() = header;
  bool open = writer->Write(first);
  for (const v1::UploadRequest& chunk : chunks) open = open && writer->Write(chunk);
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  if (summary_out != nullptr) *summary_out = summary;
  return status;
}

}  // namespace vl2
