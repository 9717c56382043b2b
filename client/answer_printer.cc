#include "client/answer_printer.h"

#include <algorithm>
#include <cmath>

#include "client/event_json.h"
#include "client/terminal_text.h"
#include "runtime/base/status.h"

namespace vl2::client {

std::string ProgressText(const v1::ChatProgress& progress) {
  std::string text;
  if (progress.num_tiles() > 0) {
    text = Cat("encoded ", progress.encoded_tiles(), " of ", progress.num_tiles(), " tiles");
  }
  if (progress.prompt_tokens() > 0) {
    if (!text.empty()) text += ", ";
    text += Cat("read ", progress.prefilled_tokens(), " of ", progress.prompt_tokens(), " tokens");
  }
  return text.empty() ? "waiting" : text;
}

std::string TimingsText(const v1::ChatEnd& end, int num_samples) {
  const v1::ChatTimings& timings = end.timings();
  const auto ms = [](double value) { return std::llround(value); };
  std::string text =
      Cat(end.prompt_tokens(), " prompt tokens (", end.cached_tokens(), " cached), ",
          end.generated_tokens(), " generated; first token after ", ms(timings.first_token_ms()),
          " ms, encoding ", ms(timings.encode_ms()), " ms, prefill ", ms(timings.prefill_ms()),
          " ms, total ", ms(timings.total_ms()), " ms");
  if (end.reused_image_tiles() > 0) {
    text += Cat("; ", end.reused_image_tiles(), " of ", end.image_tiles(), " tiles reused");
  }
  const double decode_ms = timings.total_ms() - timings.first_token_ms();
  const auto later_tokens = static_cast<double>(end.generated_tokens() - num_samples);
  if (later_tokens > 0 && decode_ms > 0) {
    const double rate = later_tokens / decode_ms * 1000;
    text += Cat("; ", std::round(rate * 10) / 10, " tokens/s");
  }
  return text;
}

absl::Status AnswerPrinter::OnEvent(const v1::ChatEvent& event) {
  if (event.has_boxes()) boxes_.push_back(event.boxes());
  if (event.has_end() && options_.timings) {
    timings_ = TimingsText(event.end(), static_cast<int>(texts_.size()));
  }
  if (options_.json) {
    if (const std::string line = EventJson(event); !line.empty()) out_ << line << "\n";
    return Flush();
  }
  if (event.has_progress()) ShowProgress(event.progress());
  if (!event.has_text()) return absl::OkStatus();
  ClearProgress();
  const auto sample = static_cast<size_t>(event.text().sample());
  if (sample >= texts_.size()) return absl::OkStatus();  // none that was asked for
  if (sample > 0) {
    texts_[sample] += event.text().text();
    return absl::OkStatus();
  }
  text_started_ = true;
  Write(event.text().text());
  return Flush();
}

absl::Status AnswerPrinter::Finish(const absl::Status& status) {
  ClearProgress();
  if (options_.json) {
    if (!status.ok()) out_ << ErrorJson(status) << "\n";
  } else {
    if (text_started_ || status.ok()) out_ << "\n";
    for (size_t i = 1; i < texts_.size() && status.ok(); ++i) {
      out_ << "--- answer " << i + 1 << " of " << texts_.size() << "\n";
      Write(texts_[i]);
      out_ << "\n";
    }
  }
  const absl::Status written = Flush();
  if (!timings_.empty()) err_ << timings_ << std::endl;
  return written;
}

void AnswerPrinter::ShowProgress(const v1::ChatProgress& progress) {
  if (!options_.err_is_terminal || text_started_) return;
  std::string text = ProgressText(progress);
  // A line that wraps could not be cleared.
  const auto columns = static_cast<size_t>(std::max(options_.terminal_columns - 1, 0));
  if (text.size() > columns) text.resize(columns);
  err_ << "\r\x1b[K" << text << std::flush;
  progress_shown_ = true;
}

void AnswerPrinter::ClearProgress() {
  if (!progress_shown_) return;
  err_ << "\r\x1b[K" << std::flush;
  progress_shown_ = false;
}

void AnswerPrinter::Write(std::string_view text) {
  if (options_.out_is_terminal) {
    out_ << ForTerminal(text);
  } else {
    out_ << text;
  }
}

absl::Status AnswerPrinter::Flush() {
  if (out_.flush()) return absl::OkStatus();
  return absl::DataLossError("the answer cannot be written to standard output");
}

}  // namespace vl2::client
