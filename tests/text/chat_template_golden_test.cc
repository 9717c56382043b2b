// processor/conversations.json, and the conversations of cases/: prompts against those of the
// published processor.
#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/json.h"
#include "tests/text/golden_data.h"
#include "text/chat_template.h"
#include "text/published_template.h"

namespace vl2 {
namespace {

constexpr int64_t kMaxTokens = 100'000;

const Tokenizer& SmallTokenizer() {
  static const Tokenizer tokenizer = Tokenizer::Load(GoldenPath("tokenizer/small")).value();
  return tokenizer;
}

std::vector<PublishedMessage> MessagesOf(const Json& entry) {
  std::vector<PublishedMessage> messages;
  for (const Json& message : entry["conversation"]) {
    messages.push_back({message["role"], message["content"]});
  }
  return messages;
}

// From the tiles that the entry gives; images that no tag uses have no entry there.
std::vector<int64_t> EmbeddingsOf(const Json& entry) {
  std::vector<int64_t> counts;
  for (const Json& crop : entry["images_spatial_crop"]) {
    const auto wide = crop[0].get<int64_t>();
    const auto high = crop[1].get<int64_t>();
    if (wide > 0) counts.push_back(14 * 15 + 1 + 14 * high * (14 * wide + 1));
  }
  return counts;
}

absl::StatusOr<Prompt> RenderEntry(const Json& entry) {
  const int num_images = static_cast<int>(entry["image_sizes"].size());
  if (entry.contains("conversation")) {
    return RenderPublishedConversation(SmallTokenizer(), MessagesOf(entry), num_images);
  }
  return RenderPublishedText(SmallTokenizer(), entry["prompt"].get<std::string>(),
                             entry["apply_sft_format"], entry.value("system_prompt", ""),
                             num_images);
}

std::vector<uint8_t> MaskOf(const Json& entry) {
  std::vector<uint8_t> mask(entry["input_ids"].size(), 0);
  for (const Json& run : entry["image_token_mask_runs"]) {
    for (size_t i = 0; i < run[1].get<size_t>(); ++i) mask.at(run[0].get<size_t>() + i) = 1;
  }
  return mask;
}

Json ReadConversations() {
  return ParseJsonFile(GoldenPath("processor/conversations.json")).value();
}

TEST(PublishedTemplate, AgreesWithTheProcessor) {
  const Json entries = ReadConversations();
  ASSERT_GT(entries.size(), 10u);
  int num_errors = 0;
  for (const Json& entry : entries) {
    const auto prompt = RenderEntry(entry);
    if (entry.contains("error")) {
      EXPECT_FALSE(prompt.ok()) << entry["note"];
      ++num_errors;
      continue;
    }
    ASSERT_TRUE(prompt.ok()) << entry["note"] << prompt.status();
    const auto layout =
        LayOut(*prompt, EmbeddingsOf(entry), SmallTokenizer().control_ids().image, kMaxTokens);
    ASSERT_TRUE(layout.ok()) << entry["note"] << layout.status();
    EXPECT_EQ(layout->input_ids, entry["input_ids"].get<std::vector<int32_t>>()) << entry["note"];
    EXPECT_EQ(layout->image_mask, MaskOf(entry)) << entry["note"];

    const std::string system_prompt = entry.value("system_prompt", "");
    std::string display;
    if (entry.contains("conversation")) {
      display = DisplayConversation(SmallTokenizer(), MessagesOf(entry), system_prompt);
    } else {
      const auto text = entry["prompt"].get<std::string>();
      display = entry["apply_sft_format"] ? DisplayText(text, system_prompt) : text;
    }
    EXPECT_EQ(display, entry["sft_format"].get<std::string>()) << entry["note"];
  }
  EXPECT_GT(num_errors, 0);
}

// Token counts and display strings of cases/NAME.json (the ids are compared where whole requests
// are).
TEST(PublishedTemplate, AgreesWithTheCases) {
  int num_cases = 0;
  for (const auto& file : std::filesystem::directory_iterator(GoldenPath("cases"))) {
    const Json entry = ParseJsonFile(file.path()).value();
    int num_images = 0;
    for (const Json& message : entry["conversation"]) {
      num_images += static_cast<int>(message.value("images", Json::array()).size());
    }
    const auto prompt =
        RenderPublishedConversation(SmallTokenizer(), MessagesOf(entry), num_images);
    ASSERT_TRUE(prompt.ok()) << file.path() << prompt.status();
    const auto count = CountTokens(*prompt, EmbeddingsOf(entry));
    ASSERT_TRUE(count.ok()) << count.status();
    EXPECT_EQ(*count, entry["num_tokens"].get<int64_t>()) << file.path();
    EXPECT_EQ(*count - prompt->num_text_tokens(), entry["num_image_tokens"].get<int64_t>());
    EXPECT_EQ(DisplayConversation(SmallTokenizer(), MessagesOf(entry), ""),
              entry["sft_format"].get<std::string>());
    ++num_cases;
  }
  EXPECT_GT(num_cases, 0);
}

// Cuts a content with tags into parts.
ChatMessage ToParts(ChatRole role, std::string content) {
  ChatMessage message{role, {}};
  for (size_t tag; (tag = content.find("<image>")) != std::string::npos;) {
    message.parts.push_back(ContentPart::Text(content.substr(0, tag)));
    message.parts.push_back(ContentPart::Image());
    content.erase(0, tag + 7);
  }
  message.parts.push_back(ContentPart::Text(content));
  return message;
}

// The serving format of the same conversation, images as parts: the same prompt.
TEST(ChatTemplate, AgreesWithThePublishedFormat) {
  int num_compared = 0;
  for (const Json& entry : ReadConversations()) {
    if (!entry.contains("conversation") || entry.contains("error")) continue;
    std::vector<ChatMessage> messages;
    for (const PublishedMessage& message : MessagesOf(entry)) {
      const ChatRole role = message.role == "<|User|>" || message.role == "user" ? ChatRole::kUser
                            : message.role == "<|Assistant|>" || message.role == "assistant"
                                ? ChatRole::kAssistant
                                : ChatRole::kSystem;
      messages.push_back(ToParts(role, message.content));
    }
    const auto prompt = RenderChat(SmallTokenizer(), messages, {.newline_between_parts = false});
    ASSERT_TRUE(prompt.ok()) << prompt.status();
    EXPECT_EQ(*prompt, *RenderEntry(entry)) << entry["note"];
    // The empty assistant message at the end may be left out.
    if (messages.back().parts[0].text.empty()) {
      messages.pop_back();
      EXPECT_EQ(*RenderChat(SmallTokenizer(), messages, {.newline_between_parts = false}), *prompt);
    }
    ++num_compared;
  }
  EXPECT_GT(num_compared, 10);
}

}  // namespace
}  // namespace vl2
