#include "lm_service/service/wire.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "runtime/base/client_name.h"
#include "runtime/base/crc32c.h"
#include "runtime/base/status.h"
#include "runtime/tensor/dtype.h"

namespace vl2 {
namespace {

absl::Status CheckLength(const char* field, const std::string& value, size_t max_bytes) {
  if (value.size() <= max_bytes) return absl::OkStatus();
  return InvalidArgument(field, " has ", value.size(), " bytes, the limit is ", max_bytes);
}

absl::Status FillParts(const v1::GenerateRequest& wire, GenerateRequest& request) {
  const auto num_parts = static_cast<size_t>(wire.segments_size());
  if (num_parts > GenerateRequest::kMaxParts) {
    return InvalidArgument("segments has ", num_parts, " entries, the limit is ",
                           GenerateRequest::kMaxParts);
  }
  for (const v1::PromptSegment& segment : wire.segments()) {
    switch (segment.segment_case()) {
      case v1::PromptSegment::kTokens:
        request.parts.emplace_back(
            std::vector<int32_t>(segment.tokens().ids().begin(), segment.tokens().ids().end()));
        break;
      case v1::PromptSegment::kImage:
        VL2_RETURN_IF_ERROR(
            CheckLength("content_key", segment.image().content_key(), kMaxContentKeyBytes));
        request.parts.emplace_back(ImagePart{.content_key = segment.image().content_key(),
                                             .num_embeddings = segment.image().num_embeddings()});
        break;
      case v1::PromptSegment::SEGMENT_NOT_SET:
        return InvalidArgument("segment ", request.parts.size(), " holds neither tokens nor image");
    }
  }
  return absl::OkStatus();
}

absl::Status FillSampling(const v1::SamplingParams& wire, SamplingParams& params) {
  if (wire.has_temperature()) params.temperature = wire.temperature();
  if (wire.has_top_p()) params.top_p = wire.top_p();
  if (wire.has_top_k()) params.top_k = wire.top_k();
  if (wire.has_min_p()) params.min_p = wire.min_p();
  if (wire.has_repetition_penalty()) params.repetition_penalty = wire.repetition_penalty();
  if (wire.has_presence_penalty()) params.presence_penalty = wire.presence_penalty();
  if (wire.has_frequency_penalty()) params.frequency_penalty = wire.frequency_penalty();
  const auto num_biases = static_cast<size_t>(wire.logit_bias_size());
  if (num_biases > SamplingParams::kMaxBiases) {
    return InvalidArgument("logit_bias has ", num_biases, " entries, the limit is ",
                           SamplingParams::kMaxBiases);
  }
  params.logit_bias.assign(wire.logit_bias().begin(), wire.logit_bias().end());
  params.seed = wire.seed();
  params.logprobs = wire.logprobs();
  params.top_logprobs = wire.top_logprobs();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GenerateRequest> FromWire(const v1::GenerateRequest& wire) {
  GenerateRequest request;
  VL2_RETURN_IF_ERROR(CheckLength("request_id", wire.request_id(), kMaxRequestIdBytes));
  VL2_RETURN_IF_ERROR(CheckLength("client_id", wire.client_id(), kMaxClientIdBytes));
  if (wire.priority() < -kMaxPriority || wire.priority() > kMaxPriority) {
    return InvalidArgument("priority is ", wire.priority(), ", it must be in [", -kMaxPriority,
                           ", ", kMaxPriority, "]");
  }
  VL2_RETURN_IF_ERROR(CheckLength("cache_salt", wire.cache_salt(), kMaxCacheSaltBytes));
  VL2_RETURN_IF_ERROR(FillParts(wire, request));
  VL2_RETURN_IF_ERROR(FillSampling(wire.sampling(), request.sampling));
  request.request_id = wire.request_id();
  request.client_id = wire.client_id();
  request.priority = wire.priority();
  request.image_token_id = wire.image_token_id();
  request.generated_prefix.assign(wire.generated_prefix().begin(), wire.generated_prefix().end());
  request.num_samples = wire.num_samples() == 0 ? 1 : wire.num_samples();
  request.max_new_tokens = wire.max_new_tokens();
  request.stop_token_ids.assign(wire.stop_token_ids().begin(), wire.stop_token_ids().end());
  request.ignore_end = wire.ignore_end_token();
  request.cache_salt = wire.cache_salt();
  return request;
}

size_t NumSlots(const GenerateRequest& request) {
  size_t count = 0;
  for (const PromptPart& part : request.parts) count += std::holds_alternative<ImagePart>(part);
  return count;
}

v1::Token ToWire(const SampledToken& token) {
  v1::Token wire;
  wire.set_id(token.id);
  wire.set_logprob(token.logprob);
  for (const TokenLogprob& top : token.top_logprobs) {
    v1::TokenLogprob* const entry = wire.add_top_logprobs();
    entry->set_id(top.id);
    entry->set_logprob(top.logprob);
  }
  return wire;
}

v1::FinishReason ToWire(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

v1::Finished ToWire(const GenerateStats& stats) {
  v1::Finished wire;
  wire.set_prompt_tokens(stats.prompt_tokens);
  wire.set_cached_tokens(stats.cached_tokens);
  wire.set_generated_tokens(stats.generated_tokens);
  wire.set_num_preemptions(stats.num_preemptions);
  wire.set_queue_ms(stats.queue_ms);
  wire.set_prefill_ms(stats.prefill_ms);
  wire.set_decode_ms(stats.decode_ms);
  return wire;
}

absl::StatusOr<std::vector<float>> FromWire(const v1::UploadChunk& chunk, v1::DType dtype,
                                            int64_t hidden) {
  if (dtype != v1::DTYPE_F32 && dtype != v1::DTYPE_BF16) {
    return InvalidArgument("dtype ", static_cast<int>(dtype), " is neither F32 nor BF16");
  }
  const auto num_bytes = static_cast<int64_t>(chunk.data().size());
  if (num_bytes > kMaxUploadChunkBytes) {
    return InvalidArgument("a chunk of ", num_bytes, " bytes, the limit is ", kMaxUploadChunkBytes);
  }
  const int64_t row_bytes = hidden * (dtype == v1::DTYPE_F32 ? 4 : 2);
  // Compared by division: num_embeddings is anything that fits 64 bits.
  if (chunk.num_embeddings() < 1 || num_bytes % row_bytes != 0 ||
      num_bytes / row_bytes != chunk.num_embeddings()) {
    return InvalidArgument("a chunk of ", num_bytes, " bytes for ", chunk.num_embeddings(),
                           " embeddings of ", row_bytes, " bytes");
  }
  if (const uint32_t crc = Crc32c(chunk.data()); crc != chunk.crc32c()) {
    return InvalidArgument("crc32c ", chunk.crc32c(), " of embeddings ", chunk.first_embedding(),
                           " to ", chunk.first_embedding(), " + ", chunk.num_embeddings(),
                           ", but the bytes have ", crc);
  }
  std::vector<float> rows(static_cast<size_t>(chunk.num_embeddings() * hidden));
  if (dtype == v1::DTYPE_F32) {
    std::memcpy(rows.data(), chunk.data().data(), chunk.data().size());
  } else {
    for (size_t i = 0; i < rows.size(); ++i) {
      BFloat16 value;
      std::memcpy(&value, chunk.data().data() + i * sizeof(value), sizeof(value));
      rows[i] = ToFloat(value);
    }
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!std::isfinite(rows[i])) {
      return InvalidArgument("embedding ",
                             chunk.first_embedding() + static_cast<int64_t>(i) / hidden, " holds ",
                             rows[i]);
    }
  }
  return rows;
}

absl::Status CheckUploadHeader(const v1::UploadHeader& header, const std::string& model_id,
                               const UploadTickets& tickets) {
  if (header.model_id() != model_id) {
    return absl::FailedPreconditionError(
        Cat("embeddings of model ", header.model_id(), ", this service runs ", model_id));
  }
  if (header.dtype() != v1::DTYPE_F32 && header.dtype() != v1::DTYPE_BF16) {
    return InvalidArgument("dtype ", static_cast<int>(header.dtype()), " is neither F32 nor BF16");
  }
  return tickets.Check(header.sequence_id(), header.slot(), header.upload_token());
}

std::chrono::steady_clock::time_point ToSteady(std::chrono::system_clock::time_point deadline) {
  using std::chrono::steady_clock;
  const auto left = deadline - std::chrono::system_clock::now();
  // A call without a deadline says "the end of time", which must not be added to.
  if (left > std::chrono::hours(24 * 365)) return steady_clock::time_point::max();
  return steady_clock::now() + std::chrono::duration_cast<steady_clock::duration>(left);
}

}  // namespace vl2
