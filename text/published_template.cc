#include "text/published_template.h"

#include <algorithm>
#include <vector>

#include "runtime/base/status.h"
#include "text/utf8.h"

namespace vl2 {
namespace {

constexpr std::string_view kImageTag = "<image>";
constexpr std::string_view kUserRole = "<|User|>";
constexpr std::string_view kAssistantRole = "<|Assistant|>";
constexpr std::string_view kSeparator = "\n\n";

enum class Role { kUser, kAssistant, kSystem, kUnknown };

Role RoleOf(std::string_view role) {
  if (role == kUserRole || role == "user") return Role::kUser;
  if (role == kAssistantRole || role == "assistant") return Role::kAssistant;
  if (role == "system" || role == "deepseekapi-sys") return Role::kSystem;
  return Role::kUnknown;
}

std::string Stripped(std::string_view text) {
  std::string repaired;
  AppendRepairedUtf8(text, repaired);
  return std::string(StripWhiteSpace(repaired));
}

std::vector<std::string_view> SplitAtTags(std::string_view text) {
  std::vector<std::string_view> pieces;
  for (size_t tag; (tag = text.find(kImageTag)) != std::string_view::npos;) {
    pieces.push_back(text.substr(0, tag));
    text.remove_prefix(tag + kImageTag.size());
  }
  pieces.push_back(text);
  return pieces;
}

absl::Status AddText(const Tokenizer& tokenizer, std::string_view text, Prompt& prompt) {
  VL2_ASSIGN_OR_RETURN(const auto ids, tokenizer.Encode(text, {.control = ControlTokens::kAll}));
  prompt.AddTokens(ids);
  return absl::OkStatus();
}

// Adds the text with its images; *next_image is the index of the first of them.
absl::Status AddTagged(const Tokenizer& tokenizer, std::string_view text, int num_images,
                       int* next_image, Prompt& prompt) {
  const std::vector<std::string_view> pieces = SplitAtTags(text);
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (i > 0) {
      if (*next_image == num_images) {
        return InvalidArgument("the text has more <image> tags than there are images (", num_images,
                               ")");
      }
      prompt.AddImage((*next_image)++);
    }
    VL2_RETURN_IF_ERROR(AddText(tokenizer, pieces[i], prompt));
  }
  return absl::OkStatus();
}

// "role: text" + separator, or "role:" when there is no text.
std::string Turn(std::string_view role, std::string_view text, std::string_view separator) {
  return text.empty() ? Cat(role, ":") : Cat(role, ": ", text, separator);
}

std::string UserTurn(std::string_view stripped) {
  return Turn(kUserRole, stripped, kSeparator) + Turn(kAssistantRole, "", "");
}

}  // namespace

absl::StatusOr<Prompt> RenderPublishedConversation(const Tokenizer& tokenizer,
                                                   std::span<const PublishedMessage> messages,
                                                   int num_images) {
  if (messages.empty() || RoleOf(messages.back().role) != Role::kAssistant) {
    return InvalidArgument("the conversation has to end with an assistant message");
  }
  const int32_t end = tokenizer.control_ids().end;
  Prompt prompt;
  prompt.AddTokens({&tokenizer.control_ids().begin, 1});
  int next_image = 0;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string content = Stripped(messages[i].content);
    switch (RoleOf(messages[i].role)) {
      case Role::kUser:
        VL2_RETURN_IF_ERROR(
            AddTagged(tokenizer, UserTurn(content), num_images, &next_image, prompt));
        break;
      case Role::kAssistant:
        if (content.find(kImageTag) != std::string::npos) {
          return InvalidArgument("message ", i, ": an assistant message has no images");
        }
        VL2_RETURN_IF_ERROR(AddText(tokenizer, content, prompt));
        prompt.AddTokens({&end, 1});
        break;
      case Role::kSystem:
        if (i != 0) return InvalidArgument("message ", i, ": a system message comes first");
        VL2_RETURN_IF_ERROR(AddText(tokenizer, content, prompt));
        break;
      case Role::kUnknown:
        return InvalidArgument("message ", i, ": unknown role \"", messages[i].role, "\"");
    }
  }
  prompt.DropLastToken();
  return prompt;
}

absl::StatusOr<Prompt> RenderPublishedText(const Tokenizer& tokenizer, std::string_view text,
                                           bool apply_template, std::string_view system_prompt,
                                           int num_images) {
  const std::string full = apply_template ? DisplayText(text, system_prompt) : std::string(text);
  Prompt prompt;
  prompt.AddTokens({&tokenizer.control_ids().begin, 1});
  int next_image = 0;
  VL2_RETURN_IF_ERROR(AddTagged(tokenizer, full, num_images, &next_image, prompt));
  if (next_image != num_images) {
    return InvalidArgument("the text has ", next_image, " <image> tags for ", num_images,
                           " images");
  }
  return prompt;
}

std::string DisplayConversation(const Tokenizer& tokenizer,
                                std::span<const PublishedMessage> messages,
                                std::string_view system_prompt) {
  const std::string_view end = tokenizer.TokenBytes(tokenizer.control_ids().end);
  std::string text;
  if (!system_prompt.empty()) text = Cat(system_prompt, kSeparator);
  for (size_t i = 0; i < messages.size(); ++i) {
    // By position, whatever the role: with a system message the two change places.
    text += Turn(messages[i].role, Stripped(messages[i].content), i % 2 == 0 ? kSeparator : end);
  }
  return Stripped(text);
}

std::string DisplayText(std::string_view text, std::string_view system_prompt) {
  std::string prefix;
  if (!system_prompt.empty()) prefix = Cat(system_prompt, kSeparator);
  return Stripped(prefix + UserTurn(Stripped(text)));
}

}  // namespace vl2
