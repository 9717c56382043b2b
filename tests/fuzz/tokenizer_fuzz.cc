// Tokenizer files and texts. Input: a JSON merge patch for a small tokenizer.json, a NUL, a text.
// Whatever the patch makes of the file, reading it ends with a status and encoding with ids of the
// vocabulary; with the file as it is, texts come back as they were.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/base/check.h"
#include "tests/text/test_files.h"
#include "text/chat_template.h"
#include "text/incremental_detokenizer.h"
#include "text/published_template.h"

namespace vl2 {
namespace {

TestFiles BaseFiles() {
  TestFiles files = MakeTestFiles({{"a", "b"}, {"ab", "c"}, {" ", " "}, {"\xe4", "\xbd"}});
  files.tokenizer["pre_tokenizer"] = Json::parse(R"({"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}|\\s+(?!\\S)|\\s+"},
       "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})");
  return files;
}

void CheckText(const Tokenizer& tokenizer, std::string_view text, bool comes_back) {
  std::string repaired;
  AppendRepairedUtf8(text, repaired);
  for (const ControlTokens control :
       {ControlTokens::kAll, ControlTokens::kGroundingOnly, ControlTokens::kNone}) {
    const auto ids = tokenizer.Encode(text, {.control = control});
    if (!ids.ok()) {
      VL2_CHECK(!comes_back) << ids.status();
      continue;
    }
    for (const int32_t id : *ids) VL2_CHECK(id >= 0 && id < tokenizer.id_limit()) << id;
    const std::string decoded = tokenizer.Decode(*ids, SkipSpecial::kNone);
    VL2_CHECK(IsValidUtf8(decoded));
    VL2_CHECK(!comes_back || decoded == repaired);
    IncrementalDetokenizer detokenizer(&tokenizer, SkipSpecial::kNone);
    std::string streamed;
    for (const int32_t id : *ids) streamed += detokenizer.Push(id);
    streamed += detokenizer.Finish();
    VL2_CHECK(streamed == decoded);
  }
}

// The serving form never lets a text add control tokens other than grounding ones.
void CheckChat(const Tokenizer& tokenizer, std::string_view text) {
  const ChatMessage message{ChatRole::kUser, {ContentPart::Text(std::string(text))}};
  const auto prompt = RenderChat(tokenizer, {&message, 1});
  VL2_CHECK(prompt.ok()) << prompt.status();
  int num_control = 0;
  for (const auto& segment : prompt->segments) {
    for (const int32_t id : std::get<Prompt::TokenIds>(segment)) {
      num_control += tokenizer.IsSpecial(id) && !tokenizer.IsGrounding(id) ? 1 : 0;
    }
  }
  VL2_CHECK(num_control == 3) << num_control;  // begin, user, assistant
  (void)RenderPublishedText(tokenizer, text, true, "", 1);
}

void CheckInput(std::string_view input) {
  static const TestFiles files = BaseFiles();
  static const Tokenizer base = files.Build().value();
  const size_t end = input.find('\0');
  const std::string_view patch = input.substr(0, end);
  const std::string_view text = end == input.npos ? input : input.substr(end + 1);
  CheckText(base, text, true);
  CheckChat(base, text);

  const auto json = ParseJson(patch);
  if (!json.ok() || !json->is_object()) return;
  TestFiles patched = files;
  patched.tokenizer.merge_patch(*json);
  if (json->contains("config")) patched.config.merge_patch((*json)["config"]);
  const auto tokenizer = patched.Build();
  // A pattern may be slow: the text is kept short.
  if (tokenizer.ok()) CheckText(*tokenizer, text.substr(0, 64), false);
}

}  // namespace
}  // namespace vl2

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vl2::CheckInput({reinterpret_cast<const char*>(data), size});
  return 0;
}
