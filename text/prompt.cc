#include "text/prompt.h"

#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace vl2 {

void Prompt::AddTokens(std::span<const int32_t> ids) {
  if (ids.empty()) return;
  if (segments.empty() || std::holds_alternative<ImageSlot>(segments.back())) {
    segments.emplace_back(TokenIds());
  }
  TokenIds& last = std::get<TokenIds>(segments.back());
  last.insert(last.end(), ids.begin(), ids.end());
}

void Prompt::AddImage(int image_index) { segments.emplace_back(ImageSlot{image_index}); }

void Prompt::DropLastToken() {
  VL2_CHECK(!segments.empty() && std::holds_alternative<TokenIds>(segments.back()));
  TokenIds& last = std::get<TokenIds>(segments.back());
  last.pop_back();
  if (last.empty()) segments.pop_back();
}

int64_t Prompt::num_text_tokens() const {
  int64_t count = 0;
  for (const auto& segment : segments) {
    if (const auto* ids = std::get_if<TokenIds>(&segment))
      count += static_cast<int64_t>(ids->size());
  }
  return count;
}

int Prompt::num_images() const {
  int count = 0;
  for (const auto& segment : segments) count += std::holds_alternative<ImageSlot>(segment) ? 1 : 0;
  return count;
}

absl::StatusOr<int64_t> CountTokens(const Prompt& prompt, std::span<const int64_t> num_embeddings) {
  // Far above any image; keeps the sum from overflowing.
  constexpr int64_t kMaxEmbeddings = int64_t{1} << 32;
  int64_t count = prompt.num_text_tokens();
  for (const auto& segment : prompt.segments) {
    const auto* slot = std::get_if<ImageSlot>(&segment);
    if (slot == nullptr) continue;
    if (slot->image_index < 0 || static_cast<size_t>(slot->image_index) >= num_embeddings.size()) {
      return InvalidArgument("the prompt needs image ", slot->image_index, ", there are ",
                             num_embeddings.size());
    }
    const int64_t embeddings = num_embeddings[static_cast<size_t>(slot->image_index)];
    if (embeddings < 1 || embeddings > kMaxEmbeddings) {
      return InvalidArgument("image ", slot->image_index, " has ", embeddings, " embeddings");
    }
    count += embeddings;
  }
  return count;
}

absl::StatusOr<PromptLayout> LayOut(const Prompt& prompt, std::span<const int64_t> num_embeddings,
                                    int32_t image_token_id, int64_t max_tokens) {
  VL2_ASSIGN_OR_RETURN(const int64_t count, CountTokens(prompt, num_embeddings));
  if (count > max_tokens) {
    return InvalidArgument("the prompt has ", count, " tokens (", prompt.num_text_tokens(),
                           " of text, the rest images), the limit is ", max_tokens);
  }
  PromptLayout layout;
  layout.input_ids.reserve(static_cast<size_t>(count));
  layout.image_mask.reserve(static_cast<size_t>(count));
  for (const auto& segment : prompt.segments) {
    if (const auto* ids = std::get_if<Prompt::TokenIds>(&segment)) {
      layout.input_ids.insert(layout.input_ids.end(), ids->begin(), ids->end());
      layout.image_mask.insert(layout.image_mask.end(), ids->size(), 0);
    } else {
      const auto index = static_cast<size_t>(std::get<ImageSlot>(segment).image_index);
      const auto embeddings = static_cast<size_t>(num_embeddings[index]);
      layout.input_ids.insert(layout.input_ids.end(), embeddings, image_token_id);
      layout.image_mask.insert(layout.image_mask.end(), embeddings, 1);
    }
  }
  return layout;
}

}  // namespace vl2
