#include "text/chat_template.h"

#include "runtime/base/status.h"
#include "text/utf8.h"

namespace vl2 {
namespace {

bool StartsWithSpace(std::string_view text) { return StripLeft(text).size() != text.size(); }
bool EndsWithSpace(std::string_view text) { return StripRight(text).size() != text.size(); }

// The stripped texts between the images of a message: one more than there are images.
std::vector<std::string> TextsBetweenImages(const std::vector<ContentPart>& parts,
                                            bool newline_between_parts) {
  std::vector<std::string> texts(1);
  const ContentPart* previous = nullptr;
  for (const ContentPart& part : parts) {
    std::string text;
    AppendRepairedUtf8(part.text, text);
    if (part.kind == ContentPart::Kind::kImage) {
      const bool after_image = previous != nullptr && previous->kind == ContentPart::Kind::kImage;
      if (after_image && newline_between_parts) texts.back() += "\n";
      texts.emplace_back();
    } else if (text.empty()) {
      continue;
    } else {
      if (previous != nullptr && newline_between_parts && !StartsWithSpace(text) &&
          !EndsWithSpace(texts.back())) {
        texts.back() += "\n";
      }
      texts.back() += text;
    }
    previous = &part;
  }
  // The content is stripped as a whole: an image at an end protects the text beside it.
  texts.front() = std::string(StripLeft(texts.front()));
  texts.back() = std::string(StripRight(texts.back()));
  return texts;
}

class ChatRenderer {
 public:
  ChatRenderer(const Tokenizer& tokenizer, const ChatTemplateOptions& options)
      : tokenizer_(tokenizer), options_(options) {}

  absl::StatusOr<Prompt> Render(std::span<const ChatMessage> messages) {
    AddToken(tokenizer_.control_ids().begin);
    VL2_RETURN_IF_ERROR(AddSystemText(messages));
    bool answer_is_due = true;
    for (size_t i = 0; i < messages.size(); ++i) {
      const ChatMessage& message = messages[i];
      if (message.role == ChatRole::kSystem) continue;
      VL2_ASSIGN_OR_RETURN(const std::vector<std::string> texts, TextsOf(messages, i));
      answer_is_due = message.role == ChatRole::kAssistant;
      if (message.role == ChatRole::kUser) {
        VL2_RETURN_IF_ERROR(AddUserTurn(texts));
        continue;
      }
      VL2_RETURN_IF_ERROR(AddText(texts[0]));
      if (i + 1 < messages.size()) AddToken(tokenizer_.control_ids().end);
    }
    if (answer_is_due && messages.back().role == ChatRole::kSystem) {
      VL2_RETURN_IF_ERROR(BeginAnswer());
    }
    return std::move(prompt_);
  }

 private:
  absl::StatusOr<std::vector<std::string>> TextsOf(std::span<const ChatMessage> messages,
                                                   size_t i) const {
    std::vector<std::string> texts =
        TextsBetweenImages(messages[i].parts, options_.newline_between_parts);
    if (texts.size() > 1 && messages[i].role != ChatRole::kUser) {
      return InvalidArgument("message ", i, ": only user messages may hold images");
    }
    return texts;
  }

  absl::Status AddSystemText(std::span<const ChatMessage> messages) {
    std::string joined;
    for (size_t i = 0; i < messages.size(); ++i) {
      if (messages[i].role != ChatRole::kSystem) continue;
      VL2_ASSIGN_OR_RETURN(const std::vector<std::string> texts, TextsOf(messages, i));
      if (!joined.empty() && !texts[0].empty()) joined += "\n\n";
      joined += texts[0];
    }
    return AddText(joined);
  }

  // The published processor tokenises "<|User|>: text\n\n<|Assistant|>:" in one go; its control
  // tokens are cut out first, so what stands between them is tokenised on its own, as here.
  absl::Status AddUserTurn(const std::vector<std::string>& texts) {
    const bool empty = texts.size() == 1 && texts[0].empty();
    AddToken(tokenizer_.control_ids().user);
    for (size_t i = 0; i < texts.size(); ++i) {
      if (i > 0) prompt_.AddImage(next_image_++);
      const bool last = i + 1 == texts.size();
      VL2_RETURN_IF_ERROR(
          AddText(Cat(i == 0 ? (empty ? ":" : ": ") : "", texts[i], last && !empty ? "\n\n" : "")));
    }
    return BeginAnswer();
  }

  absl::Status BeginAnswer() {
    AddToken(tokenizer_.control_ids().assistant);
    return AddText(":");
  }

  absl::Status AddText(std::string_view text) {
    if (text.empty()) return absl::OkStatus();
    VL2_RETURN_IF_ERROR(CheckLeastTokens(text));
    const EncodeOptions encode{.control = options_.grounding_control ? ControlTokens::kGroundingOnly
                                                                     : ControlTokens::kNone,
                               .max_text_bytes = text.size(),  // counted by the caller
                               .max_tokens = static_cast<size_t>(options_.max_text_tokens)};
    VL2_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer_.Encode(text, encode));
    prompt_.AddTokens(ids);
    num_text_tokens_ += static_cast<int64_t>(ids.size());
    if (num_text_tokens_ > options_.max_text_tokens) {
      return InvalidArgument("the messages have more than ", options_.max_text_tokens,
                             " tokens of text, the limit");
    }
    return absl::OkStatus();
  }

  absl::Status CheckLeastTokens(std::string_view text) {
    const size_t longest = tokenizer_.longest_token_bytes();
    if (longest == 0 || options_.max_prompt_tokens <= 0) return absl::OkStatus();
    least_text_tokens_ += static_cast<int64_t>(text.size() / longest);
    if (least_text_tokens_ <= options_.max_prompt_tokens) return absl::OkStatus();
    return absl::OutOfRangeError(Cat("the prompt has at least ", least_text_tokens_,
                                     " tokens, the limit is ", options_.max_prompt_tokens,
                                     "; beyond ", options_.max_text_tokens, " none are counted"));
  }

  void AddToken(int32_t id) { prompt_.AddTokens({&id, 1}); }

  const Tokenizer& tokenizer_;
  const ChatTemplateOptions& options_;
  Prompt prompt_;
  int next_image_ = 0;
  int64_t num_text_tokens_ = 0;
  int64_t least_text_tokens_ = 0;  // by bytes alone
};

absl::Status CheckLimits(std::span<const ChatMessage> messages,
                         const ChatTemplateOptions& options) {
  if (messages.size() > ChatTemplateOptions::kMaxMessages) {
    return InvalidArgument(messages.size(), " messages, the limit is ",
                           ChatTemplateOptions::kMaxMessages);
  }
  size_t num_parts = 0;
  size_t num_bytes = 0;
  for (const ChatMessage& message : messages) {
    num_parts += message.parts.size();
    for (const ContentPart& part : message.parts) num_bytes += part.text.size();
  }
  if (num_parts > ChatTemplateOptions::kMaxParts) {
    return InvalidArgument("the messages have ", num_parts, " parts, the limit is ",
                           ChatTemplateOptions::kMaxParts);
  }
  if (num_bytes > options.max_text_bytes) {
    return InvalidArgument("the messages have ", num_bytes, " bytes of text, the limit is ",
                           options.max_text_bytes);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Prompt> RenderChat(const Tokenizer& tokenizer, std::span<const ChatMessage> messages,
                                  const ChatTemplateOptions& options) {
  VL2_RETURN_IF_ERROR(CheckLimits(messages, options));
  if (messages.empty()) return InvalidArgument("there are no messages");
  if (options.max_text_tokens < 0) {
    return InvalidArgument("max_text_tokens: ", options.max_text_tokens);
  }
  return ChatRenderer(tokenizer, options).Render(messages);
}

}  // namespace vl2
