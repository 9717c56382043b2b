// PrintingSink: writes an answer to stdout as its tokens come.
//
// Threading: called by the engine thread; Wait and stats by another.
#pragma once

#include <cstdio>
#include <string>

#include "lm_service/scheduler/request.h"
#include "runtime/base/mutex.h"
#include "text/incremental_detokenizer.h"
#include "text/tokenizer.h"

namespace vl2 {

class PrintingSink : public GenerateSink {
 public:
  // `tokenizer` outlives this.
  explicit PrintingSink(const Tokenizer& tokenizer)
      : detokenizer_(&tokenizer, SkipSpecial::kAllButGrounding) {}

  void OnSlotNeeded(int, int64_t) override {}
  void OnPrefill(int64_t, int64_t) override {}
  void OnToken(int, const SampledToken& token) override { Print(detokenizer_.Push(token.id)); }
  void OnSampleFinished(int, FinishReason) override {
    Print(detokenizer_.Finish());
    Print("\n");
  }
  void OnFinished(const absl::Status& status, const GenerateStats& stats) override {
    MutexLock lock(&mutex_);
    status_ = status;
    stats_ = stats;
    finished_ = true;
    changed_.NotifyAll();
  }

  // Waits for the end; the request's status.
  absl::Status Wait() {
    MutexLock lock(&mutex_);
    while (!finished_) changed_.Wait(&mutex_);
    return status_;
  }
  GenerateStats stats() {
    MutexLock lock(&mutex_);
    return stats_;
  }

 private:
  static void Print(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

  IncrementalDetokenizer detokenizer_;
  Mutex mutex_;
  CondVar changed_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  GenerateStats stats_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vl2
