// Structured log lines on stderr: time, severity, message, then fields. One line is one write, so
// lines of several threads do not mix. Thread-safe.
//
// As text `2026-01-31T12:00:00.123Z INFO message key=value key="two words"`, as JSON one object a
// line, {"time":…,"severity":…,"message":…,"key":…}, valid and printable ASCII whatever the values
// hold.
//
// What a client wrote does not belong here: codes, names of fields, sizes do.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "runtime/base/status.h"

namespace vl2 {

enum class Severity { kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

// "text" or "json"; INVALID_ARGUMENT for anything else.
absl::Status SetLogFormat(std::string_view name);
LogFormat CurrentLogFormat();

// A field's value; anything that can be streamed. Numbers and bools are such in JSON too.
struct LogField {
  template <typename T>
  LogField(std::string_view key, const T& value)
      : key(key),
        value(Cat(value)),
        is_number(std::is_arithmetic_v<T> && !std::is_same_v<T, bool> && sizeof(T) > 1) {}
  LogField(std::string_view key, bool value) : key(key), value(value ? "true" : "false") {
    is_literal = true;
  }
  std::string_view key;
  std::string value;
  bool is_number = false;
  bool is_literal = false;
};

void Log(Severity severity, std::string_view message, const std::vector<LogField>& fields);
inline void Log(Severity severity, std::string_view message,
                std::initializer_list<LogField> fields = {}) {
  Log(severity, message, std::vector<LogField>(fields));
}

// The line that Log writes, with its end.
std::string LogLine(LogFormat format, Severity severity, std::string_view message,
                    const std::vector<LogField>& fields);

}  // namespace vl2
