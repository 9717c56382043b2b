#include "runtime/base/json.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <utility>

#include "runtime/base/excerpt.h"
#include "runtime/base/model_folder.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

// The nesting depth of `text`, counted outside strings; stops at the first depth over the limit.
// Checked before parsing because the parser's destructor recurses with the depth.
bool DeeperThan(std::string_view text, int max_depth) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > max_depth) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return InvalidArgument("JSON text has ", text.size(), " bytes, the limit is ",
                           limits.max_bytes);
  }
  if (DeeperThan(text, limits.max_depth)) {
    return InvalidArgument("JSON text is nested deeper than ", limits.max_depth, " levels");
  }
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const Json::exception& error) {
    // After its own name the library repeats the last token that it read, however long.
    const std::string_view what = error.what();
    const size_t name = what.find("] ");
    return InvalidArgument("not valid JSON: ",
                           Excerpt(name == what.npos ? what : what.substr(name + 2)));
  }
}

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return absl::NotFoundError(Cat(path, ": no such file"));
  }
  const auto num_bytes = std::filesystem::file_size(path, error);
  if (error) return absl::NotFoundError(Cat(path, ": ", error.message()));
  if (num_bytes > max_bytes) {
    return InvalidArgument(path, ": ", num_bytes, " bytes, the limit is ", max_bytes);
  }
  std::ifstream file(path, std::ios::binary);
  std::string text(num_bytes, '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(num_bytes))) {
    return absl::NotFoundError(Cat(path, ": cannot be read"));
  }
  VL2_RETURN_IF_ERROR(CheckIsNoLfsPointer(text, path));
  return text;
}

absl::StatusOr<Json> ParseJsonFile(const std::string& path, const JsonLimits& limits) {
  VL2_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, limits.max_bytes));
  auto json = ParseJson(text, limits);
  if (!json.ok()) return Annotate(json.status(), path);
  return json;
}

JsonFields::JsonFields(const Json& object, std::string context)
    : object_(object), context_(std::move(context)) {}

const Json* JsonFields::Find(const char* key) const {
  if (!object_.is_object()) return nullptr;
  const auto it = object_.find(key);
  if (it == object_.end() || it->is_null()) return nullptr;
  return &*it;
}

bool JsonFields::Has(const char* key) const { return Find(key) != nullptr; }

bool JsonFields::HasNull(const char* key) const {
  return object_.is_object() && object_.contains(key) && object_.at(key).is_null();
}

absl::StatusOr<int64_t> JsonFields::Int(const char* key, std::optional<int64_t> default_value,
                                        int64_t min, int64_t max) const {
  const Json* value = Find(key);
  if (value == nullptr) {
    if (default_value) return *default_value;
    return InvalidArgument(context_, ".", key, ": missing, an integer is needed");
  }
  if (!value->is_number_integer()) {
    return InvalidArgument(context_, ".", key, ": found a value of type ", value->type_name(),
                           ", expected an integer");
  }
  // An unsigned value beyond int64 would wrap to a negative one.
  const bool wraps = value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{INT64_MAX};
  const int64_t number = wraps ? INT64_MAX : value->get<int64_t>();
  if (wraps || number < min || number > max) {
    return InvalidArgument(context_, ".", key, ": ", value->dump(), " is outside [", min, ", ", max,
                           "]");
  }
  return number;
}

absl::StatusOr<double> JsonFields::Double(const char* key, std::optional<double> default_value,
                                          double min, double max) const {
  const Json* value = Find(key);
  if (value == nullptr) {
    if (default_value) return *default_value;
    return InvalidArgument(context_, ".", key, ": missing, a number is needed");
  }
  if (!value->is_number()) {
    return InvalidArgument(context_, ".", key, ": found a value of type ", value->type_name(),
                           ", expected a number");
  }
  const double number = value->get<double>();
  if (!std::isfinite(number) || number < min || number > max) {
    return InvalidArgument(context_, ".", key, ": ", number, " is outside [", min, ", ", max, "]");
  }
  return number;
}

absl::StatusOr<bool> JsonFields::Bool(const char* key, std::optional<bool> default_value) const {
  const Json* value = Find(key);
  if (value == nullptr) {
    if (default_value) return *default_value;
    return InvalidArgument(context_, ".", key, ": missing, true or false is needed");
  }
  if (!value->is_boolean()) {
    return InvalidArgument(context_, ".", key, ": found a value of type ", value->type_name(),
                           ", expected true or false");
  }
  return value->get<bool>();
}

absl::StatusOr<std::string> JsonFields::String(const char* key,
                                               std::optional<std::string> default_value) const {
  const Json* value = Find(key);
  if (value == nullptr) {
    if (default_value) return *default_value;
    return InvalidArgument(context_, ".", key, ": missing, a string is needed");
  }
  if (!value->is_string()) {
    return InvalidArgument(context_, ".", key, ": found a value of type ", value->type_name(),
                           ", expected a string");
  }
  return value->get<std::string>();
}

}  // namespace vl2
