#include "runtime/base/log.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>

#include "nlohmann/json.hpp"

namespace vl2 {
namespace {

constexpr std::string_view kSeverities[] = {"INFO", "WARNING", "ERROR"};

std::atomic<LogFormat> format_of_lines{LogFormat::kText};

std::string TimeStamp() {
  using std::chrono::duration_cast;
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto millis =
      duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc;
  gmtime_r(&seconds, &utc);
  char stamp[40];
  const size_t length = std::strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(stamp + length, sizeof(stamp) - length, ".%03dZ", static_cast<int>(millis));
  return stamp;
}

// Quotes a value that would not read back as one word; control characters become spaces so that a
// value from outside cannot forge a line.
void AppendValue(std::string_view value, std::string& line) {
  const bool quote = value.empty() || value.find_first_of(" \"=\t\r\n") != std::string_view::npos;
  if (quote) line.push_back('"');
  for (const char c : value) {
    if (c == '"' || c == '\\') line.push_back('\\');
    line.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
  }
  if (quote) line.push_back('"');
}

// As a JSON string, of ASCII alone; bytes that are no UTF-8 are replaced.
std::string Quoted(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', /*ensure_ascii=*/true,
                                   nlohmann::json::error_handler_t::replace);
}

// A number that JSON has: no infinity, and not "not a number".
bool IsJsonNumber(const LogField& field) {
  return field.is_number && field.value.find_first_of("in") == std::string::npos;
}

std::string TextLine(Severity severity, std::string_view message,
                     const std::vector<LogField>& fields) {
  std::string line = Cat(TimeStamp(), " ", kSeverities[static_cast<int>(severity)], " ");
  for (const char c : message) line.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
  for (const LogField& field : fields) {
    line += Cat(" ", field.key, "=");
    AppendValue(field.value, line);
  }
  return line;
}

std::string JsonLine(Severity severity, std::string_view message,
                     const std::vector<LogField>& fields) {
  std::string line =
      Cat("{\"time\":\"", TimeStamp(), "\",\"severity\":\"",
          kSeverities[static_cast<int>(severity)], "\",\"message\":", Quoted(message));
  for (const LogField& field : fields) {
    const bool plain = field.is_literal || IsJsonNumber(field);
    line += Cat(",", Quoted(field.key), ":", plain ? field.value : Quoted(field.value));
  }
  line.push_back('}');
  return line;
}

}  // namespace

absl::Status SetLogFormat(std::string_view name) {
  if (name != "text" && name != "json") {
    return InvalidArgument("log_format \"", name, "\" is not one of text, json");
  }
  format_of_lines = name == "json" ? LogFormat::kJson : LogFormat::kText;
  return absl::OkStatus();
}

LogFormat CurrentLogFormat() { return format_of_lines; }

std::string LogLine(LogFormat format, Severity severity, std::string_view message,
                    const std::vector<LogField>& fields) {
  std::string line = format == LogFormat::kJson ? JsonLine(severity, message, fields)
                                                : TextLine(severity, message, fields);
  line.push_back('\n');
  return line;
}

void Log(Severity severity, std::string_view message, const std::vector<LogField>& fields) {
  const std::string line = LogLine(format_of_lines, severity, message, fields);
  // A log line that cannot be written has nowhere to be reported.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace vl2
