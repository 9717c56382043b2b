#include "gateway/http/request_fields.h"

#include <cmath>

namespace vl2::gateway {

absl::Status WrongType(std::string_view param, std::string_view expected, JsonView found) {
  return ParamError(param,
                    Cat(param, " must be ", expected, ", it is of type ", found.kind_name()));
}

absl::Status RequestFields::Read(const NumberRange& range, double* value) const {
  const auto found = Find(range.name);
  if (!found) return absl::OkStatus();
  if (!found->is_number()) return WrongType(PathOf(range.name), "a number", *found);
  *value = found->Double();
  return CheckRange(range, *value, PathOf(range.name));
}

absl::Status RequestFields::ReadInteger(const IntegerRange& range, int64_t* value) const {
  const auto found = Find(range.name);
  if (!found) return absl::OkStatus();
  const std::string path = PathOf(range.name);
  if (!found->is_number()) return WrongType(path, "an integer", *found);
  const auto number = found->Int64();
  if (!number) {
    const double real = found->Double();
    if (std::trunc(real) == real) return OutOfRange(range, real, path);
    return ParamError(path, Cat(path, " must be an integer, it is ", real));
  }
  *value = *number;
  return CheckRange(range, *value, path);
}

absl::Status RequestFields::Read(std::string_view key, bool* value) const {
  const auto found = Find(key);
  if (!found) return absl::OkStatus();
  if (!found->is_bool()) return WrongType(PathOf(key), "true or false", *found);
  *value = found->Bool();
  return absl::OkStatus();
}

absl::Status RequestFields::Read(std::string_view key, std::string_view* value) const {
  const auto found = Find(key);
  if (!found) return absl::OkStatus();
  if (!found->is_string()) return WrongType(PathOf(key), "a string", *found);
  *value = found->String();
  return absl::OkStatus();
}

}  // namespace vl2::gateway
