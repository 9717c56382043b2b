// Parsing of JSON that comes from outside (checkpoint files, requests): bounded size and depth, and
// typed access whose errors name the key, what was found and what was expected.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace vl2 {

using Json = nlohmann::json;

struct JsonLimits {
  size_t max_bytes = size_t{64} << 20;
  int max_depth = 64;
};

// Parses UTF-8 `text`. INVALID_ARGUMENT with the byte offset of the fault; nothing after the value
// but white space is accepted. Duplicate keys: the last one counts.
absl::StatusOr<Json> ParseJson(std::string_view text, const JsonLimits& limits = {});

// Reads the whole file, at most limits.max_bytes, and parses it. Errors name the file.
absl::StatusOr<Json> ParseJsonFile(const std::string& path, const JsonLimits& limits = {});

// Reads one object's fields. A key that is absent or null gives the default; a key of another type
// or outside [min, max] gives INVALID_ARGUMENT "context.key: ...". The object must outlive this.
class JsonFields {
 public:
  // `context` is the path printed in errors, such as "config.json: language_config".
  JsonFields(const Json& object, std::string context);

  absl::StatusOr<int64_t> Int(const char* key, std::optional<int64_t> default_value, int64_t min,
                              int64_t max) const;
  absl::StatusOr<double> Double(const char* key, std::optional<double> default_value, double min,
                                double max) const;
  absl::StatusOr<bool> Bool(const char* key, std::optional<bool> default_value) const;
  absl::StatusOr<std::string> String(const char* key,
                                     std::optional<std::string> default_value) const;
  // True when the key is there and not null.
  bool Has(const char* key) const;
  // True when the key is there and its value is null.
  bool HasNull(const char* key) const;
  // The value, or nullptr when absent or null.
  const Json* Find(const char* key) const;
  const std::string& context() const { return context_; }

 private:
  const Json& object_;
  std::string context_;
};

// The whole file. NOT_FOUND, or INVALID_ARGUMENT when larger than max_bytes or a git-lfs pointer.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes);

}  // namespace vl2
