// VisionEngineTest: an engine without any service, on a small checkpoint. A callback that blocks
// holds the encoder, so that what happens meanwhile is decided by the test and not by the clock.
//
// Owns everything, from the checkpoint to the engine. Threading: as its parts. Test-only.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/base/json.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/ops/cpu/make_cpu_ops.h"
#include "vision_service/engine/content_key.h"
#include "vision_service/engine/vision_engine.h"

namespace vl2 {

inline std::string CheckpointDir() {
  return std::string(VL2_TEST_DATA) + "/golden/data/checkpoints/small_mla";
}

inline std::string Picture(const std::string& name) {
  return *ReadFile(std::string(VL2_TEST_DATA) + "/golden/data/images/" + name, size_t{1} << 24);
}

// Lets nobody through before it is opened.
class Gate {
 public:
  void Pass() {
    MutexLock lock(&mutex_);
    ++num_waiting_;
    changed_.NotifyAll();
    while (!open_) changed_.Wait(&mutex_);
  }
  void WaitForArrival() {
    MutexLock lock(&mutex_);
    while (num_waiting_ == 0) changed_.Wait(&mutex_);
  }
  void Open() {
    MutexLock lock(&mutex_);
    open_ = true;
    changed_.NotifyAll();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
  int num_waiting_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Counts callbacks, in the order in which they come over all pictures.
class Progress {
 public:
  std::function<void()> Of(char name, std::function<void()> then = nullptr) {
    return [this, name, then] {
      {
        MutexLock lock(&mutex_);
        order_ += name;
        changed_.NotifyAll();
      }
      if (then) then();
    };
  }
  std::string order() const {
    MutexLock lock(&mutex_);
    return order_;
  }
  // Waits for so many callbacks of a picture.
  void WaitFor(char name, int64_t count) {
    MutexLock lock(&mutex_);
    while (std::count(order_.begin(), order_.end(), name) < count) changed_.Wait(&mutex_);
  }

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  std::string order_ ABSL_GUARDED_BY(mutex_);
};

class VisionEngineTest : public ::testing::Test {
 protected:
  VisionEngineTest() : pool_(1) {
    checkpoint_ = *Checkpoint::Open(CheckpointDir());
    config_ =
        *ParseImageProcessorConfig(*ParseJsonFile(CheckpointDir() + "/processor_config.json"));
    ops_ = MakeCpuOps(&pool_);
    encoder_ = VisionEncoder::Load(*checkpoint_, *ops_);
  }

  // Every tile is encoded; tile_reuse_test.cc starts its own.
  void Start(VisionEngineOptions options) {
    options.tile_cache_bytes = 0;
    StartReusing(options);
  }
  void StartReusing(const VisionEngineOptions& options) {
    engine_ = *VisionEngine::Start(options, config_, *encoder_);
  }

  EncodeJob Job(const std::string& bytes, const Tiling& tiling) const {
    const ImagePreprocessor preprocessor(config_);
    EncodeJob job;
    job.bytes = std::make_shared<const std::string>(bytes);
    job.policy = DecodePolicy::Serving();
    job.tiling = tiling;
    job.plan = *preprocessor.Plan(bytes, job.policy, tiling);
    Sha256 sha;
    sha.Update(bytes);
    job.content_key = MakeContentKey(sha.Finish(), job.policy, job.plan, "model");
    return job;
  }
  EncodeJob Job(const std::string& name, int tiles_wide) const {
    return Job(Picture(name), Tiling::Fixed(tiles_wide, 1));
  }
  // Its header is whole, its pixels are not.
  EncodeJob BrokenJob() const {
    return Job(Picture("scene_300x420.png").substr(0, 2000), Tiling::Fixed(1, 1));
  }

  // With neither engine nor batch.
  std::vector<float> Alone(const EncodeJob& job) {
    TileStream stream = *ImagePreprocessor(config_).Tiles(*job.bytes, job.policy, job.tiling);
    TileAssembler assembler(job.plan.tiles_wide, job.plan.tiles_high,
                            encoder_->config().tile_side(), encoder_->image_newline(),
                            encoder_->view_seperator());
    GrowingMatrix memory(ops_->device());
    const Matrix out = memory.Resize(encoder_->embeddings_per_tile(), encoder_->hidden());
    int64_t index = 0;
    for (std::vector<Tile> part = stream.Next(); !part.empty(); part = stream.Next()) {
      for (const Tile& tile : part) {
        const uint8_t* const input = tile.data();
        encoder_->Encode(std::span(&input, 1), config_.normalizer().table(), out);
        assembler.AddTile(index++, out.Floats());
      }
    }
    return Values(assembler.embeddings());
  }

  static std::vector<float> Values(ConstHostMatrix rows) {
    return std::vector<float>(rows.data, rows.data + rows.rows * rows.cols);
  }

  std::shared_ptr<EncodeSubscription> Encode(
      const EncodeJob& job, std::function<void()> on_progress = [] {}) {
    auto subscription = engine_->Encode(job, std::move(on_progress));
    EXPECT_TRUE(subscription.ok()) << subscription.status();
    return *std::move(subscription);
  }

  // Returns when everything that was asked for before is decoded and cut. Needs one decode thread:
  // a broken picture's turn comes after theirs.
  void WaitUntilCut() {
    const auto broken = Encode(BrokenJob(), progress_.Of('!'));
    progress_.WaitFor('!', 1);
    EXPECT_TRUE(absl::IsInvalidArgument(broken->status())) << broken->status();
  }

  void WaitUntilIdle() {
    for (;;) {
      const VisionEngineSnapshot now = engine_->snapshot();
      if (now.num_queued_tiles == 0 && now.num_encodings == 0) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  // Four callers ask for the images again and again, and leave at once or compare what they get
  // with `alone`. How many images were whole.
  int ComeAndGo(const std::vector<EncodeJob>& jobs, const std::vector<std::vector<float>>& alone) {
    std::atomic<int> num_whole = 0;
    std::vector<std::thread> callers;
    for (unsigned seed = 0; seed < 4; ++seed) {
      callers.emplace_back([&, seed] {
        std::mt19937 random(seed);
        for (int round = 0; round < 12; ++round) {
          const size_t which = random() % jobs.size();
          const auto subscription = engine_->Encode(jobs[which], [] {});
          ASSERT_TRUE(subscription.ok()) << subscription.status();
          if (random() % 3 == 0) continue;  // leaves at once
          while ((*subscription)->num_ready() < jobs[which].plan.num_embeddings) {
            ASSERT_TRUE((*subscription)->status().ok());
            std::this_thread::sleep_for(std::chrono::microseconds(200));
          }
          ASSERT_TRUE(Values((*subscription)->embeddings()) == alone[which]);
          ++num_whole;
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    return num_whole;
  }

  // Used by callbacks, so that they outlive the engine.
  Gate gate_, last_gate_;
  Progress progress_;
  std::atomic<bool> first_ = true;
  std::atomic<int> num_calls_ = 0;

  ThreadPool pool_;
  std::unique_ptr<Checkpoint> checkpoint_;
  ImageProcessorConfig config_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<VisionEncoder> encoder_;
  std::unique_ptr<VisionEngine> engine_;
};

}  // namespace vl2
