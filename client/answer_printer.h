// AnswerPrinter: shows the events of one call, as they come.
//
// The first answer's text goes out at once, further ones (--samples) follow when the call ends.
// Progress is one line on a terminal, gone before anything else is written; to anything else no
// control character is written.
//
// Borrows the streams. Threading: one thread. Errors: DATA_LOSS when the output cannot be written.
#pragma once

#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "vl2/v1/chat.pb.h"

namespace vl2::client {

struct PrinterOptions {
  bool json = false;
  bool timings = false;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  int terminal_columns = 80;  // of err
};

// "encoding tile 3 of 7, prompt 512 of 1045 tokens"
std::string ProgressText(const v1::ChatProgress& progress);

// "first token after 812 ms (encoding 300 ms, prefill 420 ms), …"
std::string TimingsText(const v1::ChatEnd& end, int num_samples);

class AnswerPrinter {
 public:
  AnswerPrinter(const PrinterOptions& options, int num_samples, std::ostream& out,
                std::ostream& err)
      : options_(options), texts_(static_cast<size_t>(num_samples)), out_(out), err_(err) {}

  absl::Status OnEvent(const v1::ChatEvent& event);
  // The call has ended, well or not: what is left comes out, and the line is ended.
  absl::Status Finish(const absl::Status& status);

  const std::vector<v1::BoxGroup>& boxes() const { return boxes_; }

 private:
  void ShowProgress(const v1::ChatProgress& progress);
  void ClearProgress();
  void Write(std::string_view text);
  absl::Status Flush();

  const PrinterOptions options_;
  std::vector<std::string> texts_;  // of samples but the first, which is not held
  std::ostream& out_;
  std::ostream& err_;
  std::vector<v1::BoxGroup> boxes_;
  std::string timings_;
  bool progress_shown_ = false;
  bool text_started_ = false;
};

}  // namespace vl2::client
