// ChatTemplate: a user's conversation as a Prompt, in the format the models were trained on.
//
// Structure comes from the messages, never from their text: what spells `<image>`, a role, a begin
// or an end token is plain text. The five grounding tokens are control tokens unless turned off.
// Conversations whose text spells no control token give exactly what the published processor gives.
//
//   begin token, then
//   system     text                                 (no separator)
//   and for each other message
//   user       <|User|> ": " content "\n\n" <|Assistant|> ":"
//   assistant  text, end token                      (no end token when it is the last message: the
//                                                    answer goes on from there)
// The format has one place for a system text, at the start. Clients send any number of system
// messages anywhere: they are joined there in order, a blank line between two, empty ones left out.
// When the last message is a system's and no user's turn waits for an answer, the assistant's turn
// begins (role, ":"); so a conversation of system messages alone is one. Contents are stripped of
// white space at both ends. Each piece of text between images is tokenised on its own.
//
// Threading: free functions. Errors: INVALID_ARGUMENT naming message, value and limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "text/prompt.h"
#include "text/tokenizer.h"

namespace vl2 {

enum class ChatRole { kSystem, kUser, kAssistant };

// Text, or an image. Images are numbered in order of appearance, from 0.
struct ContentPart {
  enum class Kind { kText, kImage };

  static ContentPart Text(std::string text) { return {Kind::kText, std::move(text)}; }
  static ContentPart Image() { return {Kind::kImage, {}}; }

  Kind kind = Kind::kText;
  std::string text;  // invalid UTF-8 is read as U+FFFD
};

struct ChatMessage {
  ChatRole role = ChatRole::kUser;
  std::vector<ContentPart> parts;
};

struct ChatTemplateOptions {
  static constexpr size_t kMaxMessages = 4096;
  static constexpr size_t kMaxParts = 65'536;  // of all messages
  static constexpr int64_t kDefaultMaxTextTokens = int64_t{1} << 20;

  bool grounding_control = true;
  // A newline between two parts where neither side brings white space, as in the published prompts
  // ("<image>\nWhat is this?"). Never between text and an image that follows it. Off: parts are
  // joined as they are.
  bool newline_between_parts = true;
  // Limits of all messages together, images not counted.
  size_t max_text_bytes = EncodeOptions::kDefaultMaxTextBytes;
  int64_t max_text_tokens = kDefaultMaxTextTokens;
  // What the prompt may have; 0: not known. A text that has more, however it is tokenised, need not
  // be tokenised to be refused: 16 MiB of it take a second and 250 MiB. OUT_OF_RANGE.
  int64_t max_prompt_tokens = 0;
};

// The answer begins, or goes on from a last message of the assistant's. REQUIRES nothing of the
// order of messages; there has to be one.
absl::StatusOr<Prompt> RenderChat(const Tokenizer& tokenizer, std::span<const ChatMessage> messages,
                                  const ChatTemplateOptions& options = {});

}  // namespace vl2
