// Fakes for tests of a session's parts, one thread and no clock: events are sent by the test, and
// nothing runs before the test says so.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gateway/session/session_thread.h"
#include "gateway/session/upstream.h"

namespace vl2::gateway {

class ManualThread final : public SessionThread {
 public:
  void Post(std::function<void()> work) override { work_.push_back(std::move(work)); }
  void PostAfter(std::chrono::milliseconds delay, std::function<void()> work) override {
    pauses.push_back(delay);
    later_.push_back(std::move(work));
  }
  void Run() {
    while (!work_.empty()) {
      const auto work = std::move(work_.front());
      work_.pop_front();
      work();
    }
  }
  // Lets all pauses end.
  void RunLater() {
    for (const auto& work : std::exchange(later_, {})) Post(work);
    Run();
  }

  std::vector<std::chrono::milliseconds> pauses;

 private:
  std::deque<std::function<void()>> work_;
  std::vector<std::function<void()>> later_;
};

struct ManualImageStream final : ImageStream {
  const std::string& replica() const override { return name; }
  const std::string& pool() const override { return pool_name; }
  void Prepare() override { ++num_prepared; }
  void Deliver(const EncodeTarget& target) override { targets.push_back(target); }
  void Close() override { ++num_closed; }
  void Cancel() override { ++num_cancelled; }

  std::string name;
  std::string pool_name = "model/bf16/cpu";
  ImageSink sink;
  std::vector<EncodeTarget> targets;
  int num_prepared = 0;
  int num_closed = 0;
  int num_cancelled = 0;
};

class ManualVision final : public VisionUpstream {
 public:
  absl::StatusOr<std::shared_ptr<ImageStream>> Open(const ImageRequest& request,
                                                    ImageSink sink) override {
    requests.push_back(request);
    if (!refusal.ok()) return refusal;
    auto stream = std::make_shared<ManualImageStream>();
    stream->name = "vision" + std::to_string(streams.size());
    stream->sink = std::move(sink);
    streams.push_back(stream);
    return std::shared_ptr<ImageStream>(stream);
  }

  absl::Status refusal;  // of every Open until it is OK again
  std::vector<ImageRequest> requests;
  std::vector<std::shared_ptr<ManualImageStream>> streams;
};

struct ManualGenerateStream final : GenerateStream {
  const std::string& replica() const override { return name; }
  const std::string& pool() const override { return pool_name; }
  void Cancel() override { ++num_cancelled; }

  std::string name;
  std::string pool_name = "pool";
  GenerateSink sink;
  int num_cancelled = 0;
};

class ManualLanguage final : public LanguageUpstream {
 public:
  int64_t max_context_tokens(const std::string&) const override { return context; }
  absl::StatusOr<std::shared_ptr<GenerateStream>> Generate(const GenerateCall& call,
                                                           GenerateSink sink) override {
    calls.push_back(call);
    if (!refusal.ok()) return refusal;
    auto stream = std::make_shared<ManualGenerateStream>();
    stream->name = "lm" + std::to_string(streams.size());
    stream->sink = std::move(sink);
    streams.push_back(stream);
    return std::shared_ptr<GenerateStream>(stream);
  }

  int64_t context = 4096;
  absl::Status refusal;
  std::vector<GenerateCall> calls;
  std::vector<std::shared_ptr<ManualGenerateStream>> streams;
};

}  // namespace vl2::gateway
