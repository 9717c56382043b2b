#include "runtime/base/log.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <ctime>

namespace vl2 {
namespace {

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

}  // namespace

void Log(Severity severity, std::string_view message, std::initializer_list<LogField> fields) {
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

  static constexpr std::string_view kNames[] = {"INFO", "WARNING", "ERROR"};
  std::string line = Cat(stamp, " ", kNames[static_cast<int>(severity)], " ");
  for (const char c : message) line.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
  for (const LogField& field : fields) {
    line += Cat(" ", field.key, "=");
    AppendValue(field.value, line);
  }
  line.push_back('\n');
  // A log line that cannot be written has nowhere to be reported.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace vl2
