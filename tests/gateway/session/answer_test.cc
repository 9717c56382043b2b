#include "gateway/session/answer.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace vl2::gateway {
namespace {

const Tokenizer& TestTokenizer() {
  static const auto* const tokenizer = new Tokenizer(
      *Tokenizer::Load(std::string(VL2_TEST_DATA) + "/golden/data/checkpoints/tiny_mha"));
  return *tokenizer;
}

std::vector<int32_t> Ids(const std::string& text) { return *TestTokenizer().Encode(text); }

struct Collected {
  std::string text;
  std::string token_bytes;
  std::vector<vl2::BoxGroup> boxes;
  size_t num_tokens = 0;
  void Add(const Answer::Output& output) {
    text += output.text;
    for (const AnswerToken& token : output.tokens) {
      token_bytes += TestTokenizer().TokenBytes(token.id);
      ++num_tokens;
    }
    // Tokens come with the text that completes them, never after it.
    EXPECT_LE(text.size(), token_bytes.size());
    for (const auto& group : output.boxes) boxes.push_back(group);
  }
};

Collected Feed(Answer& answer, const std::vector<int32_t>& ids) {
  Collected all;
  for (const int32_t id : ids) all.Add(answer.Push({id, -1.0f, {}}));
  all.Add(answer.Finish(FinishReason::kLength));
  return all;
}

ChatTask TaskWithLogprobs() {
  ChatTask task;
  task.sampling.logprobs = true;
  return task;
}

TEST(Answer, TokensSpellTheText) {
  Answer answer = *Answer::Create(&TestTokenizer(), TaskWithLogprobs());
  const std::string text = "Größe: 東京 \xf0\x9f\x98\x80 end";
  const Collected all = Feed(answer, Ids(text));
  EXPECT_EQ(all.text, text);
  EXPECT_EQ(all.token_bytes, text);
  EXPECT_EQ(all.num_tokens, Ids(text).size());
  EXPECT_EQ(answer.reason(), FinishReason::kLength);
}

TEST(Answer, StopStringCutsTextAndTokens) {
  ChatTask task = TaskWithLogprobs();
  task.stop = {"STOP"};
  Answer answer = *Answer::Create(&TestTokenizer(), task);
  const Collected all = Feed(answer, Ids("one two STOP three"));
  EXPECT_EQ(all.text, "one two ");
  EXPECT_EQ(answer.reason(), FinishReason::kStop);
  // The last token may reach into the stop string, but none lies behind its start.
  EXPECT_TRUE(all.token_bytes.starts_with(all.text));
  EXPECT_LT(all.token_bytes.size(), std::string("one two STOP").size());
}

TEST(Answer, AlmostAStopStringIsReleasedAtTheEnd) {
  ChatTask task = TaskWithLogprobs();
  task.stop = {"STOP"};
  Answer answer = *Answer::Create(&TestTokenizer(), task);
  const Collected all = Feed(answer, Ids("one STO"));
  EXPECT_EQ(all.text, "one STO");
  EXPECT_EQ(all.token_bytes, "one STO");
}

TEST(Answer, EndAndStopTokensEndItWithoutText) {
  const int32_t end = TestTokenizer().control_ids().end;
  std::vector<int32_t> ids = Ids("abc");
  ids.push_back(end);
  ids.push_back(Ids("x")[0]);
  Answer answer = *Answer::Create(&TestTokenizer(), TaskWithLogprobs());
  const Collected all = Feed(answer, ids);
  EXPECT_EQ(all.text, "abc");
  EXPECT_EQ(all.token_bytes, "abc");
  EXPECT_EQ(answer.reason(), FinishReason::kStop);
  EXPECT_EQ(answer.ids().size(), Ids("abc").size() + 1);

  ChatTask task;
  task.ignore_end_token = true;
  task.stop_token_ids = {Ids("x")[0]};
  Answer other = *Answer::Create(&TestTokenizer(), task);
  for (const int32_t id : Ids("abc")) other.Push({id, 0, {}});
  other.Push({end, 0, {}});
  EXPECT_FALSE(other.done());
  EXPECT_EQ(other.Push({Ids("x")[0], 0, {}}).text, "");
  EXPECT_TRUE(other.done());
}

TEST(Answer, TokensWithoutTextAreToldInTheirTurn) {
  ChatTask task = TaskWithLogprobs();
  task.ignore_end_token = true;
  task.stop = {"no such text"};
  const int32_t end = TestTokenizer().control_ids().end;
  // The model's vocabulary is larger than the tokenizer's.
  constexpr int32_t kNoToken = 543;
  ASSERT_EQ(TestTokenizer().TokenBytes(kNoToken), "");
  std::vector<int32_t> ids = {end};
  for (const int32_t id : Ids("so n")) ids.push_back(id);  // "n" is held back: a stop may begin
  ids.push_back(kNoToken);
  for (const int32_t id : Ids("\xe6\x9d")) ids.push_back(id);  // of a character
  ids.push_back(end);
  ids.push_back(kNoToken);
  Answer answer = *Answer::Create(&TestTokenizer(), task);
  std::vector<int32_t> told;
  std::string text;
  const auto add = [&](const Answer::Output& output) {
    text += output.text;
    for (const AnswerToken& token : output.tokens) told.push_back(token.id);
  };
  add(answer.Push({ids[0], 0, {}}));
  EXPECT_EQ(told.size(), 1u) << "nothing to wait for";
  for (size_t i = 1; i < ids.size(); ++i) add(answer.Push({ids[i], 0, {}}));
  add(answer.Finish(FinishReason::kLength));
  EXPECT_EQ(told, ids);
  EXPECT_EQ(text, "so n\xef\xbf\xbd");
}

TEST(Answer, BoxesCloseAsTheyStreamAndStayInTheText) {
  Answer answer = *Answer::Create(&TestTokenizer(), TaskWithLogprobs());
  const std::string group = "<|ref|>a cat<|/ref|><|det|>[[1, 2, 30, 40]]<|/det|>";
  std::vector<int32_t> ids = Ids("See " + group);
  Collected all;
  for (const int32_t id : ids) all.Add(answer.Push({id, 0, {}}));
  ASSERT_EQ(all.boxes.size(), 1u) << "before the end of the answer";
  EXPECT_EQ(all.boxes[0].label, "a cat");
  EXPECT_EQ(all.boxes[0].boxes[0], (GroundingBox{1, 2, 30, 40}));
  EXPECT_EQ(all.text, "See " + group);
  EXPECT_EQ(all.token_bytes, "See " + group);
}

}  // namespace
}  // namespace vl2::gateway
