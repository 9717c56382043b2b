// Upstreams for tests of sessions: a vision service whose pictures have a fixed layout, and a
// language service that says what the test tells it to. Events come on a thread of their own, as
// gRPC's do.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gateway/session/upstream.h"

namespace vl2::gateway {

// Runs functions in order on one thread.
class EventThread {
 public:
  EventThread() : thread_([this] { Run(); }) {}
  ~EventThread() {
    Post(nullptr);
    thread_.join();
  }
  void Post(std::function<void()> call) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      calls_.push_back(std::move(call));
    }
    changed_.notify_one();
  }

 private:
  void Run() {
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return !calls_.empty(); });
      const auto call = std::move(calls_.front());
      calls_.pop_front();
      lock.unlock();
      if (call == nullptr) return;
      call();
    }
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> calls_;
  std::thread thread_;
};

class FakeVision final : public VisionUpstream {
 public:
  explicit FakeVision(EventThread* events) : events_(events) {}

  // Of every picture.
  ImageLayout layout{640, 480, 2, 2, 1023};
  // What happens to the next deliveries and opens, in order; afterwards all is well.
  std::deque<absl::Status> deliveries;
  std::deque<absl::Status> opens;
  std::vector<ImageRequest> requests;
  std::vector<EncodeTarget> targets;
  std::atomic<int> num_prepared{0};
  std::atomic<int> num_cancelled{0};
  std::atomic<int> num_closed{0};

  absl::StatusOr<std::shared_ptr<ImageStream>> Open(const ImageRequest& request,
                                                    ImageSink sink) override {
    requests.push_back(request);
    auto stream = std::make_shared<Stream>();
    stream->owner = this;
    stream->sink = std::move(sink);
    stream->name = "vision" + std::to_string(requests.size());
    absl::Status status;
    if (!opens.empty()) {
      status = opens.front();
      opens.pop_front();
    }
    events_->Post([this, stream, status, key = "key of " + *request.image.bytes] {
      if (!status.ok()) return stream->sink(ImageClosed{status});
      stream->sink(layout);
      stream->sink(ImageKey{key, false});
    });
    return std::shared_ptr<ImageStream>(stream);
  }

 private:
  struct Stream final : ImageStream, std::enable_shared_from_this<Stream> {
    const std::string& replica() const override { return name; }
    const std::string& pool() const override { return pool_name; }
    void Prepare() override { ++owner->num_prepared; }
    void Deliver(const EncodeTarget& target) override {
      owner->targets.push_back(target);
      ImageDelivered delivered;
      delivered.delivery_id = target.delivery_id;
      delivered.encode_ms = 5;
      if (!owner->deliveries.empty()) {
        delivered.status = owner->deliveries.front();
        owner->deliveries.pop_front();
      }
      owner->events_->Post([self = shared_from_this(), delivered] {
        self->sink(delivered);
        if (delivered.status.ok() && self->owner->on_delivered) self->owner->on_delivered();
      });
    }
    void Close() override { ++owner->num_closed; }
    void Cancel() override { ++owner->num_cancelled; }
    FakeVision* owner = nullptr;
    ImageSink sink;
    std::string pool_name;
    std::string name;
  };

 public:
  // Called after each delivery that goes well.
  std::function<void()> on_delivered;

 private:
  EventThread* const events_;
};

class FakeLanguage final : public LanguageUpstream {
 public:
  explicit FakeLanguage(EventThread* events) : events_(events) {}

  int64_t context = 4096;
  std::vector<GenerateCall> calls;
  std::atomic<int> num_cancelled{0};
  // Says what happens to call number `index`, on the event thread.
  std::function<void(int index, const GenerateCall& call, const GenerateSink& sink)> script;

  int64_t max_context_tokens(const std::string&) const override { return context; }
  absl::StatusOr<std::shared_ptr<GenerateStream>> Generate(const GenerateCall& call,
                                                           GenerateSink sink) override {
    calls.push_back(call);
    auto stream = std::make_shared<Stream>();
    stream->owner = this;
    stream->name = "lm" + std::to_string(calls.size());
    const int index = static_cast<int>(calls.size()) - 1;
    events_->Post([this, index, call, sink] { script(index, call, sink); });
    return std::shared_ptr<GenerateStream>(stream);
  }

 private:
  struct Stream final : GenerateStream {
    const std::string& replica() const override { return name; }
    const std::string& pool() const override { return pool_name; }
    void Cancel() override { ++owner->num_cancelled; }
    FakeLanguage* owner = nullptr;
    std::string name;
    std::string pool_name = "pool";
  };
  EventThread* const events_;
};

// The events of one session, gathered.
class EventLog {
 public:
  ChatSink sink() {
    return [this](ChatEvent event) {
      const std::lock_guard<std::mutex> lock(mutex_);
      events_.push_back(std::move(event));
      changed_.notify_all();
    };
  }
  // Waits for ChatEnd.
  const ChatEnd& End() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(20), [this] {
      return !events_.empty() && std::holds_alternative<ChatEnd>(events_.back());
    });
    return std::get<ChatEnd>(events_.back());
  }
  std::string Text(int sample = 0) const {
    std::string text;
    for (const ChatEvent& event : events_) {
      const auto* delta = std::get_if<TextDelta>(&event);
      if (delta != nullptr && delta->sample == sample) text += delta->text;
    }
    return text;
  }
  template <typename T>
  std::vector<T> All() const {
    std::vector<T> all;
    for (const ChatEvent& event : events_) {
      if (const auto* one = std::get_if<T>(&event)) all.push_back(*one);
    }
    return all;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ChatEvent> events_;
};

}  // namespace vl2::gateway
