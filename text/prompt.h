// Prompt: what a conversation becomes before the number of embeddings of its images is known, and
// its layout as token ids once it is.
#pragma once

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

namespace vl2 {

// The place of an image's embeddings.
struct ImageSlot {
  int image_index = 0;  // into the images of the request

  friend bool operator==(const ImageSlot&, const ImageSlot&) = default;
};

// Segments in prompt order. Neighbouring token ids are one segment, none is empty.
struct Prompt {
  using TokenIds = std::vector<int32_t>;
  std::vector<std::variant<TokenIds, ImageSlot>> segments;

  void AddTokens(std::span<const int32_t> ids);
  void AddImage(int image_index);
  // Removes the last token id. REQUIRES: the last segment is text.
  void DropLastToken();

  int64_t num_text_tokens() const;
  int num_images() const;

  friend bool operator==(const Prompt&, const Prompt&) = default;
};

// As the published processor hands it to the model.
struct PromptLayout {
  std::vector<int32_t> input_ids;   // the image token where embeddings go
  std::vector<uint8_t> image_mask;  // 1 there, else 0; same length
};

// Text tokens plus embeddings. `num_embeddings` is indexed by ImageSlot::image_index.
// INVALID_ARGUMENT for an image that has no entry, or one below 1.
absl::StatusOr<int64_t> CountTokens(const Prompt& prompt, std::span<const int64_t> num_embeddings);

// INVALID_ARGUMENT naming both numbers when the prompt has more than `max_tokens`.
absl::StatusOr<PromptLayout> LayOut(const Prompt& prompt, std::span<const int64_t> num_embeddings,
                                    int32_t image_token_id, int64_t max_tokens);

}  // namespace vl2
