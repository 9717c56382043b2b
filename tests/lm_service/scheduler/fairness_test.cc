// Clients beside one another: nobody's requests, however many, keep another's from being served.
#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lm_service/scheduler/client_turns.h"
#include "runtime/base/status.h"
#include "tests/lm_service/scheduler/fake_engine.h"

namespace vl2 {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

SchedulerOptions Options() {
  return {.num_blocks = 200, .max_running = 8, .max_batch_tokens = 128};
}

// Steps until the request's first token; how many.
int StepsToFirstToken(FakeEngine& engine, const FakeRequest& request) {
  for (int step = 1; step <= 1000; ++step) {
    engine.Step();
    if (request.sink->num_tokens > 0) return step;
  }
  return -1;
}

int64_t NumRunning(const FakeEngine& engine, const std::string& client) {
  int64_t count = 0;
  engine.scheduler.ForEach(
      [&](Sequence& sequence) { count += sequence.is_running() && sequence.client() == client; });
  return count;
}

TEST(FairShares, NobodyGetsMoreThanAskedForAndNobodyLess) {
  EXPECT_THAT(FairShares({}, 10), ElementsAre());
  EXPECT_THAT(FairShares({100}, 10), ElementsAre(10));
  EXPECT_THAT(FairShares({3}, 10), ElementsAre(3));
  EXPECT_THAT(FairShares({100, 100}, 10), ElementsAre(5, 5));
  EXPECT_THAT(FairShares({100, 2, 100}, 10), ElementsAre(4, 2, 4));
  EXPECT_THAT(FairShares({100, 100, 100}, 10), ElementsAre(4, 3, 3));
  EXPECT_THAT(FairShares({5, 5, 5}, 2), ElementsAre(1, 1, 0));
  EXPECT_THAT(FairShares({5, 5}, 0), ElementsAre(0, 0));
}

TEST(TenantShares, TenantsFirstThenTheirClients) {
  EXPECT_THAT(TenantShares({"a/1", "a/2", "a/3", "b/1"}, {9, 9, 9, 9}, 12),
              ElementsAre(2, 2, 2, 6));
  EXPECT_THAT(TenantShares({"b/1", "a/1", "b/2"}, {1, 20, 9}, 12), ElementsAre(1, 6, 5));
  EXPECT_THAT(TenantShares({"a/1", "b/1"}, {9, 9}, 12, {{"a", 2}}), ElementsAre(2, 9));
  EXPECT_THAT(TenantShares({"a", "b"}, {9, 9}, 10), ElementsAre(5, 5)) << "plain names";
}

TEST(ClientTurns, WhoWasServedGoesToTheEnd) {
  ClientTurns turns;
  for (const char* client : {"a", "b", "c", "b"}) turns.Enter(client);
  turns.EndTurn([](const std::string& client) { return client != "b"; });
  std::vector<std::string> order;
  for (const auto& entry : turns.entries()) order.push_back(entry.client);
  EXPECT_THAT(order, ElementsAre("b", "a", "c"));
  turns.Leave("b");
  EXPECT_EQ(turns.entries().size(), 3u);
  turns.Leave("b");
  EXPECT_EQ(turns.entries().size(), 2u);
}

TEST(Fairness, OneClientAloneUsesEverything) {
  FakeEngine engine(Options());
  const FakeRequest first = engine.Add(From("a", TextPrompt(10, 50, 99)));
  for (int32_t i = 0; i < 20; ++i) engine.Add(From("a", TextPrompt(10, 50, i + 1)));
  for (int i = 0; i < 10; ++i) engine.Step();
  EXPECT_EQ(NumRunning(engine, "a"), 8);
  EXPECT_EQ(RowsOf(engine.Step(), first), 1);
  EXPECT_EQ(engine.scheduler.num_preemptions(), 0);
}

TEST(Fairness, ANewcomerGetsAPlaceWhenAllAreTaken) {
  FakeEngine engine(Options());
  std::vector<FakeRequest> greedy;
  for (int32_t i = 0; i < 200; ++i) {
    greedy.push_back(engine.Add(From("greedy", TextPrompt(20, 500, i + 1))));
  }
  for (int i = 0; i < 50; ++i) engine.Step();
  const FakeRequest other = engine.Add(From("other", TextPrompt(20, 5, 999)));
  EXPECT_EQ(StepsToFirstToken(engine, other), 1);
  // It cost the greedy one its newest, and no more.
  EXPECT_EQ(engine.scheduler.num_preemptions(), 1);
  EXPECT_EQ(engine.scheduler.Find(greedy[7].id)->stats().num_preemptions, 1);
  engine.Run(20);
  EXPECT_TRUE(other.sink->finished);
  EXPECT_TRUE(engine.scheduler.Find(greedy[7].id)->is_running());
}

TEST(Fairness, ANewcomerGetsBlocksWhenAllAreTaken) {
  SchedulerOptions options = Options();
  options.num_blocks = 16;
  FakeEngine engine(options);
  for (int32_t i = 0; i < 30; ++i) engine.Add(From("greedy", TextPrompt(100, 25, i + 1)));
  for (int i = 0; i < 15; ++i) engine.Step();
  EXPECT_EQ(engine.scheduler.num_blocks_in_use(), 16);
  const FakeRequest other = engine.Add(From("other", TextPrompt(300, 5, 999)));
  engine.Step();
  EXPECT_TRUE(engine.scheduler.Find(other.id)->is_running());
  EXPECT_EQ(engine.scheduler.num_preemptions(), 3);  // two blocks each, five are needed
}

TEST(Fairness, NobodyIsPreemptedInVain) {
  // The newcomer needs 15 of 16 blocks; the greedy client would still keep one sequence of two.
  SchedulerOptions options = Options();
  options.num_blocks = 16;
  FakeEngine engine(options);
  for (int32_t i = 0; i < 8; ++i) engine.Add(From("greedy", TextPrompt(100, 25, i + 1)));
  for (int i = 0; i < 15; ++i) engine.Step();
  const FakeRequest other = engine.Add(From("other", TextPrompt(15 * 64 - 1, 1, 999)));
  engine.Step();
  EXPECT_EQ(engine.scheduler.num_preemptions(), 0);
  engine.Run();
  EXPECT_TRUE(other.sink->finished);
}

TEST(Fairness, GrowthTakesFromTheGreediest) {
  // The newcomer is the newest of all, but not whom the greedy client's growth preempts.
  SchedulerOptions options = Options();
  options.num_blocks = 10;
  FakeEngine engine(options);
  std::vector<FakeRequest> greedy;
  for (int32_t i = 0; i < 4; ++i) {
    greedy.push_back(engine.Add(From("greedy", TextPrompt(70, 150, i + 1))));
  }
  for (int i = 0; i < 5; ++i) engine.Step();
  const FakeRequest other = engine.Add(From("other", TextPrompt(70, 100, 999)));
  engine.Run();
  EXPECT_GT(engine.scheduler.num_preemptions(), 0);
  EXPECT_TRUE(other.sink->status.ok());
  EXPECT_EQ(other.sink->stats.num_preemptions, 0);
  for (const FakeRequest& request : greedy) EXPECT_EQ(request.sink->num_tokens, 150);
}

TEST(Fairness, PrefillIsDividedBetweenClients) {
  FakeEngine engine(Options());
  engine.step_ms = 0;  // a step's rows are as many as may be
  std::vector<FakeRequest> greedy;
  for (int32_t i = 0; i < 4; ++i) {
    greedy.push_back(engine.Add(From("greedy", TextPrompt(640, 5, i + 1))));
  }
  engine.Step();
  const FakeRequest other = engine.Add(From("other", TextPrompt(320, 5, 999)));
  const auto step = engine.Step();
  EXPECT_EQ(RowsOf(step, greedy[0]), 32);
  EXPECT_EQ(RowsOf(step, greedy[1]), 0);  // of one client the oldest first
  EXPECT_EQ(RowsOf(step, other), 32);
  // What one does not use is the other's.
  const FakeRequest small = engine.Add(From("small", TextPrompt(10, 5, 998)));
  const auto next = engine.Step();
  EXPECT_EQ(RowsOf(next, small), 10);
  EXPECT_EQ(RowsOf(next, greedy[0]) + RowsOf(next, other), 54);
}

TEST(Fairness, DecodingLeavesRowsForAPrompt) {
  // More samples decode than a step has rows, all of one client.
  SchedulerOptions options = Options();
  options.max_batch_tokens = 32;
  FakeEngine engine(options);
  std::vector<FakeRequest> greedy;
  for (int32_t i = 0; i < 8; ++i) {
    GenerateRequest request = TextPrompt(20, 500, i + 1);
    request.num_samples = 8;
    greedy.push_back(engine.Add(From("greedy", request)));
  }
  for (int i = 0; i < 30; ++i) engine.Step();
  const FakeRequest other = engine.Add(From("other", TextPrompt(60, 5, 999)));
  engine.Step();
  const auto step = engine.Step();
  EXPECT_GE(RowsOf(step, other), 20);
  int64_t num_decode = 0;
  for (const FakeRequest& request : greedy) num_decode += RowsOf(step, request);
  EXPECT_GT(num_decode, 0);
  EXPECT_LE(num_decode, 32 / 3 + 16);
}

TEST(Fairness, SequencesOfOneClientTakeTurnsInDecoding) {
  SchedulerOptions options = Options();
  options.max_batch_tokens = 16;
  FakeEngine engine(options);
  std::vector<FakeRequest> requests;
  for (int32_t i = 0; i < 6; ++i) {
    GenerateRequest request = TextPrompt(5, 0, i + 1);
    request.num_samples = 8;
    requests.push_back(engine.Add(From("a", request)));
  }
  for (int i = 0; i < 100; ++i) engine.Step();
  int64_t least = 1'000'000;
  int64_t most = 0;
  for (const FakeRequest& request : requests) {
    least = std::min(least, request.sink->num_tokens);
    most = std::max(most, request.sink->num_tokens);
  }
  EXPECT_GT(least, most / 2);
}

TEST(Fairness, HostMemoryIsTakenFromTheGreediest) {
  SchedulerOptions options = Options();
  options.max_embedding_bytes = 10 * 100 * FakeEngine::kHidden * 4;
  FakeEngine engine(options);
  std::vector<FakeRequest> greedy;
  for (int i = 0; i < 12; ++i) {
    greedy.push_back(engine.Add(From("greedy", PicturePrompt(10, 100, "", 5))));
  }
  engine.Step();
  const FakeRequest other = engine.Add(From("other", PicturePrompt(10, 100, "", 5)));
  EXPECT_TRUE(other.sink->slots_needed.empty());
  engine.Step();
  EXPECT_THAT(other.sink->slots_needed, ElementsAre(Pair(0, 0)));
  EXPECT_LE(engine.scheduler.reserved_bytes(), options.max_embedding_bytes);
  // The tenth lost its memory. What still comes for it is not kept, and asked for again in time.
  engine.Upload(greedy[9], 0, 0, 100);
  EXPECT_EQ(engine.scheduler.Find(greedy[9].id)->ReadyPositions(), 10);
  for (int round = 0; round < 100; ++round) {
    for (const FakeRequest& request : greedy) {
      if (!request.sink->finished && !request.sink->slots_needed.empty()) {
        engine.Upload(request, 0, 0, 100);
      }
    }
    if (!other.sink->finished) engine.Upload(other, 0, 0, 100);
    engine.Step();
  }
  for (const FakeRequest& request : greedy) EXPECT_TRUE(request.sink->status.ok());
  EXPECT_TRUE(other.sink->finished);
  EXPECT_THAT(greedy[9].sink->slots_needed, ElementsAre(Pair(0, 0), Pair(0, 0)));
  EXPECT_EQ(engine.scheduler.reserved_bytes(), 0);
}

TEST(Fairness, ManyClientsAllGetOn) {
  // Whatever they ask for in whatever order: all end, and who asks little does so early.
  SchedulerOptions options = Options();
  options.num_blocks = 24;
  options.max_running = 6;
  options.max_batch_tokens = 32;
  FakeEngine engine(options);
  std::map<std::string, std::vector<FakeRequest>> requests;
  for (int32_t i = 0; i < 120; ++i) {
    const std::string client = "client" + std::to_string(i % 3 == 0 ? i % 24 : 0);
    GenerateRequest request = TextPrompt(10 + 37 * i % 200, 10 + 53 * i % 150, i + 1);
    request.num_samples = 1 + i % 4 / 3;
    requests[client].push_back(engine.Add(From(client, request)));
    engine.Step();
  }
  EXPECT_LT(engine.Run(100'000), 100'000);
  for (const auto& [client, all] : requests) {
    for (const FakeRequest& request : all) {
      EXPECT_TRUE(request.sink->finished);
      EXPECT_TRUE(request.sink->status.ok()) << client << ": " << request.sink->status;
    }
  }
  EXPECT_EQ(engine.scheduler.num_blocks_in_use(), 0);
  EXPECT_EQ(engine.scheduler.num_clients(), 0);
}

TEST(Fairness, NobodyStarvesBesideAClientThatAlwaysAsksAgain) {
  // A client that sends a small request whenever the last ended: the greedy one gets on.
  SchedulerOptions options = Options();
  options.num_blocks = 20;
  FakeEngine engine(options);
  std::vector<FakeRequest> greedy;
  for (int32_t i = 0; i < 10; ++i) {
    greedy.push_back(engine.Add(From("greedy", TextPrompt(150, 100, i + 1))));
  }
  FakeRequest last = engine.Add(From("busy", TextPrompt(200, 2, 999)));
  int num_steps = 0;
  while (!greedy.back().sink->finished && ++num_steps < 5000) {
    if (last.sink->finished) last = engine.Add(From("busy", TextPrompt(200, 2, 999)));
    engine.Step();
  }
  EXPECT_LT(num_steps, 5000);
  for (const FakeRequest& request : greedy) EXPECT_TRUE(request.sink->finished);
}

GenerateRequest Urgent(int priority, GenerateRequest request) {
  request.priority = priority;
  return request;
}

TEST(Fairness, ATenantOfManyClientsGetsNoMoreThanAnother) {
  FakeEngine engine(Options());
  for (int32_t i = 0; i < 40; ++i) {
    engine.Add(From(Cat("big/", i), TextPrompt(20, 500, i + 1)));
  }
  for (int i = 0; i < 20; ++i) engine.Step();
  // Eight clients of one tenant run a sequence each: nobody has two, but their tenant has eight.
  std::vector<FakeRequest> small;
  for (int32_t i = 0; i < 10; ++i) {
    small.push_back(engine.Add(From("small/1", TextPrompt(20, 500, 900 + i))));
  }
  for (int i = 0; i < 20; ++i) engine.Step();
  // It takes a place while the other tenant has at least twice what it would have then: 8, 7, 6.
  EXPECT_EQ(NumRunning(engine, "small/1"), 3);
  EXPECT_EQ(engine.scheduler.num_preemptions(), 3);
}

TEST(Fairness, WithinATenantClientsTakeTurns) {
  FakeEngine engine(Options());
  for (int32_t i = 0; i < 40; ++i) engine.Add(From("t/greedy", TextPrompt(20, 500, i + 1)));
  for (int i = 0; i < 20; ++i) engine.Step();
  const FakeRequest other = engine.Add(From("t/other", TextPrompt(20, 5, 999)));
  EXPECT_EQ(StepsToFirstToken(engine, other), 1);
  EXPECT_EQ(engine.scheduler.num_preemptions(), 1);
}

TEST(Fairness, PrefillIsDividedBetweenTenants) {
  FakeEngine engine(Options());
  engine.step_ms = 0;
  const FakeRequest a = engine.Add(From("big/1", TextPrompt(640, 5, 1)));
  const FakeRequest b = engine.Add(From("big/2", TextPrompt(640, 5, 2)));
  const FakeRequest c = engine.Add(From("big/3", TextPrompt(640, 5, 3)));
  const FakeRequest other = engine.Add(From("small/1", TextPrompt(320, 5, 999)));
  const auto step = engine.Step();
  EXPECT_EQ(RowsOf(step, other), 32);
  EXPECT_EQ(RowsOf(step, a) + RowsOf(step, b) + RowsOf(step, c), 32);
}

TEST(Priority, TheHighestIsAdmittedFirstAndTakesAPlace) {
  FakeEngine engine(Options());
  for (int32_t i = 0; i < 20; ++i) engine.Add(From("a", TextPrompt(20, 500, i + 1)));
  for (int i = 0; i < 20; ++i) engine.Step();
  // Of the client that runs most, and still.
  const FakeRequest low = engine.Add(From("b", Urgent(-1, TextPrompt(20, 5, 997))));
  const FakeRequest high = engine.Add(From("a", Urgent(1, TextPrompt(20, 5, 998))));
  EXPECT_EQ(StepsToFirstToken(engine, high), 1);
  EXPECT_EQ(low.sink->num_tokens, 0);
  EXPECT_FALSE(engine.scheduler.Find(low.id)->is_running())
      << "a newcomer, but of a lower priority than all that runs";
}

TEST(Priority, GrowthTakesFromTheLowest) {
  SchedulerOptions options = Options();
  options.num_blocks = 10;
  FakeEngine engine(options);
  const FakeRequest low = engine.Add(From("a", Urgent(-1, TextPrompt(70, 150, 1))));
  std::vector<FakeRequest> high;
  for (int32_t i = 0; i < 4; ++i) {
    high.push_back(engine.Add(From("b", Urgent(1, TextPrompt(70, 150, i + 2)))));
  }
  engine.Run();
  EXPECT_GT(low.sink->stats.num_preemptions, 0) << "the oldest, of the client that runs less";
  EXPECT_TRUE(low.sink->status.ok());
  EXPECT_EQ(high[0].sink->stats.num_preemptions, 0);
  for (const FakeRequest& request : high) EXPECT_EQ(request.sink->num_tokens, 150);
}

}  // namespace
}  // namespace vl2
