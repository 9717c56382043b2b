#include "client/answer_printer.h"

#include <sstream>

#include "client/terminal_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/json.h"

namespace vl2::client {
namespace {

using ::testing::HasSubstr;

v1::ChatEvent Progress(int tiles, int num_tiles, int tokens, int num_tokens) {
  v1::ChatEvent event;
  event.mutable_progress()->set_encoded_tiles(tiles);
  event.mutable_progress()->set_num_tiles(num_tiles);
  event.mutable_progress()->set_prefilled_tokens(tokens);
  event.mutable_progress()->set_prompt_tokens(num_tokens);
  return event;
}

v1::ChatEvent Text(const std::string& text, int sample = 0) {
  v1::ChatEvent event;
  event.mutable_text()->set_sample(sample);
  event.mutable_text()->set_text(text);
  return event;
}

v1::ChatEvent End() {
  v1::ChatEvent event;
  v1::ChatEnd& end = *event.mutable_end();
  end.set_prompt_tokens(1045);
  end.set_cached_tokens(1024);
  end.set_generated_tokens(21);
  end.mutable_timings()->set_first_token_ms(500);
  end.mutable_timings()->set_total_ms(1500);
  end.mutable_timings()->set_encode_ms(300.4);
  end.mutable_timings()->set_prefill_ms(150);
  return event;
}

struct Shown {
  std::string out, err;
};

Shown Show(const PrinterOptions& options, int num_samples, const std::vector<v1::ChatEvent>& events,
           const absl::Status& status = {}) {
  std::ostringstream out, err;
  AnswerPrinter printer(options, num_samples, out, err);
  for (const v1::ChatEvent& event : events) EXPECT_TRUE(printer.OnEvent(event).ok());
  EXPECT_TRUE(printer.Finish(status).ok());
  return {out.str(), err.str()};
}

TEST(AnswerPrinter, NothingButTheAnswerWithoutATerminal) {
  const Shown shown = Show({}, 1, {Progress(1, 2, 0, 0), Text("a \x1b[2J"), Text("b"), End()});
  EXPECT_EQ(shown.out, "a \x1b[2Jb\n");
  EXPECT_EQ(shown.err, "");
}

TEST(AnswerPrinter, ProgressGoesBeforeTheFirstText) {
  const Shown shown = Show({.err_is_terminal = true}, 1,
                           {Progress(1, 2, 0, 0), Progress(2, 2, 10, 30), Text("a"),
                            Progress(2, 2, 30, 30), Text("b"), End()});
  EXPECT_EQ(shown.out, "ab\n");
  EXPECT_EQ(shown.err,
            "\r\x1b[Kencoded 1 of 2 tiles"
            "\r\x1b[Kencoded 2 of 2 tiles, read 10 of 30 tokens"
            "\r\x1b[K");
}

TEST(AnswerPrinter, ProgressFitsTheTerminalAndGoesWhenTheCallFails) {
  const Shown shown = Show({.err_is_terminal = true, .terminal_columns = 11}, 1,
                           {Progress(1, 2, 0, 0)}, absl::UnavailableError("gone"));
  EXPECT_EQ(shown.err, "\r\x1b[Kencoded 1 \r\x1b[K");
  EXPECT_EQ(shown.out, "");
}

TEST(AnswerPrinter, AnAnswerCannotSteerATerminal) {
  const Shown shown = Show({.out_is_terminal = true}, 1, {Text("a\x1b[2J\tb\n\xc2\x9b"), End()});
  EXPECT_EQ(shown.out, "a\xef\xbf\xbd[2J\tb\n\xef\xbf\xbd\n");
  EXPECT_EQ(OneLine("a\r\nb"), "a\xef\xbf\xbd b");
  EXPECT_EQ(ForTerminal("\xc3\xa9\xe4\xb8\xad"), "\xc3\xa9\xe4\xb8\xad");
}

TEST(AnswerPrinter, FurtherSamplesFollowTheFirst) {
  const Shown shown =
      Show({}, 3, {Text("a"), Text("x", 1), Text("b"), Text("y", 2), Text("?", 3), End()});
  EXPECT_EQ(shown.out, "ab\n--- answer 2 of 3\nx\n--- answer 3 of 3\ny\n");
}

TEST(AnswerPrinter, ALostAnswerEndsItsLine) {
  const Shown shown = Show({}, 2, {Text("a")}, absl::UnavailableError("gone"));
  EXPECT_EQ(shown.out, "a\n");
}

TEST(AnswerPrinter, Timings) {
  const Shown shown = Show({.timings = true}, 1, {Text("a"), End()});
  EXPECT_EQ(shown.err,
            "1045 prompt tokens (1024 cached), 21 generated; first token after 500 ms, encoding "
            "300 ms, prefill 150 ms, total 1500 ms; 20 tokens/s\n");
}

TEST(AnswerPrinter, EventsAsJsonLines) {
  v1::ChatEvent boxes;
  boxes.mutable_boxes()->set_label("a \"cat\"\n");
  boxes.mutable_boxes()->add_boxes()->set_x1(7);
  v1::ChatEvent sample_end;
  sample_end.mutable_sample_end()->set_reason(v1::FINISH_REASON_LENGTH);
  const Shown shown = Show({.json = true, .out_is_terminal = true, .err_is_terminal = true}, 1,
                           {Progress(1, 2, 3, 4), Text("\x1b\n"), boxes, sample_end, End(), {}},
                           absl::InvalidArgumentError("no"));
  EXPECT_EQ(shown.err, "");
  std::istringstream lines(shown.out);
  std::vector<Json> events;
  for (std::string line; std::getline(lines, line);) events.push_back(*ParseJson(line));
  ASSERT_EQ(events.size(), 6u);
  EXPECT_EQ(events[0], (Json{{"event", "progress"},
                             {"encoded_tiles", 1},
                             {"num_tiles", 2},
                             {"prefilled_tokens", 3},
                             {"prompt_tokens", 4}}));
  EXPECT_EQ(events[1], (Json{{"event", "text"}, {"sample", 0}, {"text", "\x1b\n"}}));
  EXPECT_EQ(events[2]["label"], "a \"cat\"\n");
  EXPECT_EQ(events[2]["boxes"][0]["x1"], 7);
  EXPECT_EQ(events[3]["reason"], "length");
  EXPECT_EQ(events[4]["timings"]["first_token_ms"], 500);
  EXPECT_EQ(events[5], (Json{{"event", "error"}, {"code", "INVALID_ARGUMENT"}, {"message", "no"}}));
}

TEST(AnswerPrinter, SaysWhenTheOutputIsGone) {
  std::ostringstream out, err;
  AnswerPrinter printer({}, 1, out, err);
  out.setstate(std::ios::badbit);
  EXPECT_EQ(printer.OnEvent(Text("a")).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(printer.Finish({}).code(), absl::StatusCode::kDataLoss);
}

TEST(AnswerPrinter, CollectsBoxes) {
  std::ostringstream out, err;
  AnswerPrinter printer({}, 1, out, err);
  v1::ChatEvent event;
  event.mutable_boxes()->set_label("cat");
  EXPECT_TRUE(printer.OnEvent(event).ok());
  ASSERT_EQ(printer.boxes().size(), 1u);
  EXPECT_EQ(printer.boxes()[0].label(), "cat");
}

}  // namespace
}  // namespace vl2::client
