#include "lm_service/engine/request_check.h"

#include <algorithm>

#include "lm_service/kv_cache/kv_cache.h"
#include "runtime/base/status.h"

namespace vl2 {

absl::Status EngineOptions::Validate() const {
  VL2_RETURN_IF_ERROR(scheduler.Validate());
  if (max_sequences < 1) {
    return InvalidArgument("max_sequences is ", max_sequences, ", must be at least 1");
  }
  return absl::OkStatus();
}

namespace {

// Checks every part; returns how many tokens the prompt has.
absl::StatusOr<int64_t> CheckPrompt(const GenerateRequest& request, const LanguageConfig& config) {
  if (request.parts.size() > GenerateRequest::kMaxParts) {
    return InvalidArgument(request.parts.size(), " prompt parts, the limit is ",
                           GenerateRequest::kMaxParts);
  }
  const int64_t max_prompt = config.max_position_embeddings - 1;
  int64_t num_tokens = 0;
  for (const PromptPart& part : request.parts) {
    const auto* ids = std::get_if<std::vector<int32_t>>(&part);
    const int64_t count = ids != nullptr ? static_cast<int64_t>(ids->size())
                                         : std::get<ImagePart>(part).num_embeddings;
    if (ids == nullptr && count < 1) return InvalidArgument("a picture of ", count, " embeddings");
    if (count > max_prompt || (num_tokens += count) > max_prompt) {
      return InvalidArgument("the prompt has more than ", max_prompt,
                             " tokens, what the context of ", config.max_position_embeddings,
                             " leaves for it");
    }
  }
  if (num_tokens == 0) return InvalidArgument("the prompt is empty");
  for (const PromptPart& part : request.parts) {
    const auto* ids = std::get_if<std::vector<int32_t>>(&part);
    if (ids == nullptr) continue;
    for (const int32_t id : *ids) {
      if (id < 0 || id >= config.vocab_size) {
        return InvalidArgument("prompt token id ", id, " is outside [0, ", config.vocab_size, ")");
      }
    }
  }
  return num_tokens;
}

absl::Status CheckFields(const GenerateRequest& request, const LanguageConfig& config) {
  if (request.num_samples < 1 || request.num_samples > GenerateRequest::kMaxSamples) {
    return InvalidArgument("num_samples ", request.num_samples, " is outside [1, ",
                           GenerateRequest::kMaxSamples, "]");
  }
  if (request.max_new_tokens < 0) {
    return InvalidArgument("max_new_tokens ", request.max_new_tokens, " is negative");
  }
  if (request.stop_token_ids.size() > GenerateRequest::kMaxStopTokens) {
    return InvalidArgument(request.stop_token_ids.size(), " stop token ids, the limit is ",
                           GenerateRequest::kMaxStopTokens);
  }
  if (request.image_token_id < 0 || request.image_token_id >= config.vocab_size) {
    return InvalidArgument("image_token_id ", request.image_token_id, " is outside [0, ",
                           config.vocab_size, ")");
  }
  if (!request.generated_prefix.empty() && request.num_samples != 1) {
    return InvalidArgument("generated_prefix goes with num_samples 1, not ", request.num_samples);
  }
  for (const int32_t id : request.generated_prefix) {
    if (id < 0 || id >= config.vocab_size) {
      return InvalidArgument("generated_prefix id ", id, " is outside [0, ", config.vocab_size,
                             ")");
    }
  }
  return request.sampling.Validate(config.vocab_size);
}

}  // namespace

absl::StatusOr<SequenceLimits> CheckRequest(const GenerateRequest& request,
                                            const LanguageConfig& config,
                                            const EngineOptions& options) {
  VL2_RETURN_IF_ERROR(CheckFields(request, config));
  VL2_ASSIGN_OR_RETURN(const int64_t num_prompt, CheckPrompt(request, config));
  const int64_t left = config.max_position_embeddings - num_prompt;
  const int64_t max_new_tokens =
      request.max_new_tokens == 0 ? left : std::min(left, request.max_new_tokens);
  const auto num_generated = static_cast<int64_t>(request.generated_prefix.size());
  if (num_generated >= max_new_tokens) {
    return InvalidArgument("generated_prefix holds ", num_generated, " tokens, max_new_tokens is ",
                           max_new_tokens);
  }
  const int64_t num_samples = request.num_samples;
  const int64_t needed = BlocksFor(num_prompt + num_generated + num_samples);
  if (needed + num_samples - 1 > options.scheduler.num_blocks) {
    return absl::ResourceExhaustedError(Cat("the request needs ", needed, " blocks of ",
                                            kBlockTokens, " tokens, the cache has ",
                                            options.scheduler.num_blocks));
  }
  int64_t num_embeddings = 0;
  for (const PromptPart& part : request.parts) {
    if (const auto* image = std::get_if<ImagePart>(&part)) num_embeddings += image->num_embeddings;
  }
  if (const int64_t num_bytes = num_embeddings * config.hidden_size * int64_t{sizeof(float)};
      num_bytes > options.scheduler.max_embedding_bytes) {
    return absl::ResourceExhaustedError(Cat("the request's pictures need ", num_bytes,
                                            " bytes of host memory, the limit is ",
                                            options.scheduler.max_embedding_bytes));
  }
  return SequenceLimits{.hidden = config.hidden_size,
                        .max_new_tokens = max_new_tokens,
                        .end_token_id = options.end_token_id};
}

absl::Status CheckUpload(const std::vector<int64_t>& slot_sizes, int slot, int64_t first,
                         int64_t num_values, int64_t hidden) {
  if (num_values == 0 || num_values % hidden != 0) {
    return InvalidArgument(num_values, " values are no whole embeddings of ", hidden);
  }
  const int64_t count = num_values / hidden;
  if (slot < 0 || static_cast<size_t>(slot) >= slot_sizes.size()) {
    return InvalidArgument("slot ", slot, " of a sequence with ", slot_sizes.size(), " pictures");
  }
  const int64_t size = slot_sizes[static_cast<size_t>(slot)];
  if (first < 0 || first > size || count > size - first) {
    return InvalidArgument("embeddings ", first, " to ", first, " + ", count,
                           " of a picture that has ", size);
  }
  return absl::OkStatus();
}

}  // namespace vl2
