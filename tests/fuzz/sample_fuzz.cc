// One sample's answer: tokens to text, boxes, stop strings and aligned tokens. Input: stop strings,
// each up to a NUL, the last one empty; then text, whose bytes and control tokens become the
// tokens. The text ends before the first stop string, boxes are those of the text, each token comes
// once and in order, and the bytes of the tokens that give text are the text.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/session/answer.h"
#include "runtime/base/check.h"
#include "tests/text/test_files.h"
#include "text/utf8.h"

namespace vl2::gateway {
namespace {

const Tokenizer& FuzzTokenizer() {
  static const Tokenizer tokenizer =
      MakeTestFiles({{"a", "b"}, {" ", " "}, {"\xe4", "\xbd"}, {"0", ","}, {"]", "]"}})
          .Build()
          .value();
  return tokenizer;
}

std::vector<BoxGroup> BoxesOf(std::string_view text) {
  GroundingParser parser;
  std::vector<BoxGroup> boxes;
  // An open group at the end is text.
  for (GroundingEvent& event : parser.Push(text)) {
    if (auto* group = std::get_if<BoxGroup>(&event)) boxes.push_back(std::move(*group));
  }
  return boxes;
}

void CheckAnswer(const ChatTask& task, const std::vector<int32_t>& ids) {
  auto answer = Answer::Create(&FuzzTokenizer(), task);
  if (!answer.ok()) return;
  Answer::Output all;
  const auto add = [&all](Answer::Output output) {
    VL2_CHECK(IsValidUtf8(output.text));
    all.text += output.text;
    for (AnswerToken& token : output.tokens) all.tokens.push_back(std::move(token));
    for (BoxGroup& group : output.boxes) all.boxes.push_back(std::move(group));
  };
  for (const int32_t id : ids) add(answer->Push({id, 0, {}}));
  add(answer->Finish(FinishReason::kLength));
  VL2_CHECK(answer->done());
  VL2_CHECK(answer->Push({0, 0, {}}).empty()) << "nothing follows the end";

  VL2_CHECK(all.boxes == BoxesOf(all.text));
  for (const std::string& stop : task.stop) VL2_CHECK(all.text.find(stop) == all.text.npos);
  VL2_CHECK(all.tokens.size() <= ids.size());
  for (size_t i = 0; i < all.tokens.size(); ++i) VL2_CHECK(all.tokens[i].id == ids[i]) << i;
  // The last token may reach into a stop string.
  std::string bytes;
  for (const AnswerToken& token : all.tokens) {
    if (FuzzTokenizer().IsSkipped(token.id, SkipSpecial::kAllButGrounding)) continue;
    bytes += FuzzTokenizer().TokenBytes(token.id);
  }
  std::string repaired;
  AppendRepairedUtf8(bytes, repaired);
  VL2_CHECK(repaired.starts_with(all.text)) << repaired << " / " << all.text;
  if (answer->reason() == FinishReason::kLength) VL2_CHECK(repaired == all.text);
}

void CheckInput(std::string_view input) {
  ChatTask task;
  task.sampling.logprobs = true;
  while (!input.empty()) {
    const size_t end = std::min(input.find('\0'), input.size());
    const std::string_view stop = input.substr(0, end);
    input.remove_prefix(std::min(end + 1, input.size()));
    if (stop.empty()) break;
    task.stop.emplace_back(stop);
  }
  const auto ids = FuzzTokenizer().Encode(input, {.control = ControlTokens::kAll});
  if (!ids.ok()) return;
  CheckAnswer(task, *ids);
  task.ignore_end_token = true;
  CheckAnswer(task, *ids);
}

}  // namespace
}  // namespace vl2::gateway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vl2::gateway::CheckInput({reinterpret_cast<const char*>(data), size});
  return 0;
}
