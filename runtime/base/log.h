// Structured log lines on stderr: time, severity, message, then key=value fields. One line is one
// write, so lines of several threads do not mix. Thread-safe.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "runtime/base/status.h"

namespace vl2 {

enum class Severity { kInfo, kWarning, kError };

// A field's value; anything that can be streamed.
struct LogField {
  template <typename T>
  LogField(std::string_view key, const T& value) : key(key), value(Cat(value)) {}
  std::string_view key;
  std::string value;
};

// Writes `2026-01-31T12:00:00.123Z INFO message key=value key="two words"`.
void Log(Severity severity, std::string_view message, std::initializer_list<LogField> fields = {});

}  // namespace vl2
