// Clients take turns in the vision engine: at decoding, at encoding, and where it is full.
#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"
#include "tests/vision_service/engine/vision_engine_fixture.h"
#include "tests/vision_service/image/encoded_bytes.h"

namespace vl2 {
namespace {

using ::testing::HasSubstr;

// Plain pictures, each with a key of its own.
class FairnessTest : public VisionEngineTest {
 protected:
  EncodeJob JobOf(const std::string& client, int tiles_wide = 1) {
    const int shade = ++num_jobs_;
    std::string row(1 + 3 * 32, static_cast<char>(shade));
    row[0] = 0;
    row[1] = static_cast<char>(shade >> 8);
    std::string rows;
    for (int y = 0; y < 32; ++y) rows += row;
    EncodeJob job = Job(PngOf({32, 32}, 2, 8, rows), Tiling::Fixed(tiles_wide, 1));
    job.client_id = client;
    job.decoded_bytes = 3 * 32 * 32;
    return job;
  }
  // Holds the encoder in the callback of a first picture until gate_ opens.
  std::shared_ptr<EncodeSubscription> HoldTheEncoder() {
    auto first = Encode(JobOf("first"), progress_.Of('-', [&] {
      if (first_.exchange(false)) gate_.Pass();
    }));
    gate_.WaitForArrival();
    return first;
  }
  // The positions in the order of callbacks.
  std::vector<size_t> PositionsOf(char name) const {
    std::vector<size_t> positions;
    const std::string order = progress_.order();
    for (size_t i = 0; i < order.size(); ++i) {
      if (order[i] == name) positions.push_back(i);
    }
    return positions;
  }

  int num_jobs_ = 0;
};

TEST_F(FairnessTest, BesideManyPicturesOfOneClientAnothersComesSoon) {
  Start({.num_decode_threads = 1, .max_queued_tiles = 1000, .image_limits = {}});
  const auto first = HoldTheEncoder();
  std::vector<std::shared_ptr<EncodeSubscription>> all;
  for (int i = 0; i < 200; ++i) all.push_back(Encode(JobOf("greedy"), progress_.Of('g')));
  all.push_back(Encode(JobOf("other", 2), progress_.Of('o')));
  // Not behind the 200 in the decoder's queue either.
  while (engine_->snapshot().num_waiting_decodes > 190) std::this_thread::yield();
  gate_.Open();
  progress_.WaitFor('o', 3);
  const std::vector<size_t> positions = PositionsOf('o');
  // Turn by turn: three tiles of the other client among the first few of the greedy one.
  EXPECT_LE(positions.back(), 1u + 3 + 4 + 10) << progress_.order();
  progress_.WaitFor('g', 400);
  WaitUntilIdle();
}

TEST_F(FairnessTest, TurnsAreTileByTileAndAClientsOldestPictureIsFirst) {
  Start({.num_decode_threads = 1, .image_limits = {}});
  const auto first = HoldTheEncoder();
  const auto a = Encode(JobOf("one", 3), progress_.Of('a'));
  const auto b = Encode(JobOf("one", 2), progress_.Of('b'));
  const auto c = Encode(JobOf("two", 1), progress_.Of('c'));
  const auto d = Encode(JobOf("three", 1), progress_.Of('d'));
  WaitUntilCut();
  gate_.Open();
  progress_.WaitFor('b', 3);
  // The broken picture's callback is '!'; the first picture has one tile left of its own.
  std::string order = progress_.order();
  std::erase_if(order, [](char name) { return name == '!' || name == '-'; });
  EXPECT_EQ(order, "acdacdaabbb");
}

TEST_F(FairnessTest, TenantsTakeTurnsBeforeTheirClients) {
  Start({.num_decode_threads = 1, .image_limits = {}});
  const auto first = HoldTheEncoder();
  const auto a = Encode(JobOf("big/1", 1), progress_.Of('a'));
  const auto b = Encode(JobOf("big/2", 1), progress_.Of('b'));
  const auto c = Encode(JobOf("big/3", 1), progress_.Of('c'));
  const auto d = Encode(JobOf("small/1", 3), progress_.Of('d'));
  WaitUntilCut();
  gate_.Open();
  for (const char name : {'a', 'b', 'c'}) progress_.WaitFor(name, 2);
  progress_.WaitFor('d', 4);
  std::string order = progress_.order();
  std::erase_if(order, [](char name) { return name == '!' || name == '-'; });
  EXPECT_EQ(order, "adbdcdadbc") << "a half each, though three clients stand against one";
}

TEST_F(FairnessTest, AHigherPriorityGoesFirst) {
  Start({.num_decode_threads = 1, .image_limits = {}});
  const auto first = HoldTheEncoder();
  const auto a = Encode(JobOf("one", 2), progress_.Of('a'));
  EncodeJob urgent = JobOf("two", 2);
  urgent.priority = 3;
  const auto b = Encode(urgent, progress_.Of('b'));
  // An image that both want has the priority of the higher one.
  EncodeJob low = JobOf("one", 1);
  low.priority = -5;
  EncodeJob raised = low;
  raised.client_id = "two";
  raised.priority = 2;
  const auto c = Encode(low, progress_.Of('c'));
  const auto d = Encode(raised, progress_.Of('d'));
  WaitUntilCut();
  gate_.Open();
  progress_.WaitFor('a', 3);
  std::string order = progress_.order();
  std::erase_if(order, [](char name) { return name == '!' || name == '-' || name == 'd'; });
  EXPECT_EQ(order, "bbbccaaa");
}

TEST_F(FairnessTest, ClientsShareABatch) {
  Start({.max_batch_tiles = 4, .num_decode_threads = 1, .image_limits = {}});
  const auto first = HoldTheEncoder();
  const auto a = Encode(JobOf("one", 6), progress_.Of('a', [&] {
    if (num_calls_++ == 0) last_gate_.Pass();
  }));
  const auto b = Encode(JobOf("two", 1), progress_.Of('b'));
  WaitUntilCut();
  gate_.Open();
  last_gate_.WaitForArrival();
  // The batch that has just been computed held tiles of both.
  EXPECT_GT(b->timings().queue_ms, 0);
  last_gate_.Open();
  progress_.WaitFor('b', 2);
  progress_.WaitFor('a', 7);
  WaitUntilIdle();
}

TEST_F(FairnessTest, ASharedPictureGoesAheadWithEitherClient) {
  Start({.num_decode_threads = 1, .image_limits = {}});
  const auto first = HoldTheEncoder();
  const auto a = Encode(JobOf("greedy", 4), progress_.Of('a'));
  const EncodeJob shared = JobOf("greedy", 1);
  const auto b = Encode(shared, progress_.Of('b'));
  EncodeJob joined = shared;
  joined.client_id = "other";
  const auto c = Encode(joined, progress_.Of('c'));
  WaitUntilCut();
  gate_.Open();
  progress_.WaitFor('a', 5);
  std::string order = progress_.order();
  std::erase_if(order, [](char name) { return name != 'a' && name != 'c'; });
  EXPECT_EQ(order, "acacaaa");
}

TEST_F(FairnessTest, AFullTileQueueKeepsNobodyOut) {
  Start({.num_decode_threads = 1, .max_queued_tiles = 12, .image_limits = {}});
  const auto first = HoldTheEncoder();
  std::vector<std::shared_ptr<EncodeSubscription>> all;
  // One of the first picture's two tiles is done: one is queued.
  for (int i = 0; i < 5; ++i) all.push_back(Encode(JobOf("greedy"), progress_.Of('g')));
  const absl::Status full = engine_->Encode(JobOf("greedy"), [] {}).status();
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_THAT(Message(full), HasSubstr("the picture has 2, the limit max_queued_tiles is 12"));
  all.push_back(Encode(JobOf("other", 3), progress_.Of('o')));
  EXPECT_TRUE(absl::IsResourceExhausted(engine_->Encode(JobOf("other"), [] {}).status()));
  gate_.Open();
  progress_.WaitFor('g', 10);
  progress_.WaitFor('o', 4);
  WaitUntilIdle();
  EXPECT_TRUE(engine_->Encode(JobOf("greedy", 11), [] {}).ok()) << "alone: everything";
}

TEST_F(FairnessTest, DecodingIsBoundedInBytesInTimeAndByInterest) {
  ImageLimits image_limits;
  image_limits.max_decoded_bytes = 5000;
  Start({.num_decode_threads = 4,
         .max_request_decoded_bytes = 5000,
         .max_decoding_bytes = 5000,
         .image_limits = image_limits});
  // Each takes 3,072 bytes: no two at a time.
  std::atomic<bool> done = false;
  std::atomic<int64_t> most = 0;
  std::thread watcher([&] {
    while (!done) {
      most = std::max<int64_t>(most, engine_->snapshot().decoding_bytes);
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  });
  std::vector<std::shared_ptr<EncodeSubscription>> all;
  for (int i = 0; i < 40; ++i) all.push_back(Encode(JobOf("client"), progress_.Of('a')));
  progress_.WaitFor('a', 80);
  done = true;
  watcher.join();
  EXPECT_LE(most, 5000);
  for (const auto& each : all) EXPECT_TRUE(each->status().ok()) << each->status();
  WaitUntilIdle();
  EXPECT_EQ(engine_->snapshot().decoding_bytes, 0);
  VisionEngineOptions impossible;
  impossible.max_decoding_bytes = 1;
  EXPECT_THAT(Message(impossible.Validate()), HasSubstr("max_decoding_bytes 1"));
  impossible = {};
  impossible.max_request_decoded_bytes = 1;
  EXPECT_THAT(Message(impossible.Validate()), HasSubstr("max_request_decoded_bytes 1"));
}

}  // namespace
}  // namespace vl2
