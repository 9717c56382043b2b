// The published processor's prompt format, exactly: images are `<image>` tags in the text, and text
// may spell any control token. For comparison with the published code and for tools; requests from
// users go through chat_template.h.
//
// Source: DeepseekVLV2Processor (format_messages, format_messages_v2, format_prompts, process_one)
// and the "deepseek" conversation template of the DeepSeek-VL2 release.
//
// Errors: INVALID_ARGUMENT wherever the published code asserts.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "text/prompt.h"
#include "text/tokenizer.h"

namespace vl2 {

struct PublishedMessage {
  std::string role;  // <|User|>, user, <|Assistant|>, assistant; first also system, deepseekapi-sys
  std::string content;  // invalid UTF-8 is read as U+FFFD
};

// The prompt of a conversation that ends with an assistant message. Images are taken in order of
// their tags; `num_images` may exceed the number of tags. (With three or more images given, none is
// tiled: the caller's business.)
absl::StatusOr<Prompt> RenderPublishedConversation(const Tokenizer& tokenizer,
                                                   std::span<const PublishedMessage> messages,
                                                   int num_images);

// The prompt of a single text, put into the template or used as it is. It holds exactly
// `num_images` tags. The system prompt counts only in the template.
absl::StatusOr<Prompt> RenderPublishedText(const Tokenizer& tokenizer, std::string_view text,
                                           bool apply_template, std::string_view system_prompt,
                                           int num_images);

// The published processor's display string, "sft_format": it is not what is tokenised.
std::string DisplayConversation(const Tokenizer& tokenizer,
                                std::span<const PublishedMessage> messages,
                                std::string_view system_prompt);
// The same of a single text put into the template.
std::string DisplayText(std::string_view text, std::string_view system_prompt);

}  // namespace vl2
