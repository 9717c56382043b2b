// The part of ModelInfo that a checkpoint's folder tells.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "vl2/v1/model.pb.h"

namespace vl2 {

// Fills config_json and processor_config_json, model_name (`model_name`, or the folder's name when
// that is empty), and an instance_id of its own. Errors name the file.
absl::StatusOr<v1::ModelInfo> ReadModelInfo(const std::string& checkpoint_dir,
                                            const std::string& model_name);

// FAILED_PRECONDITION, with both, when `expected` is another id; an empty one expects nothing.
absl::Status CheckModelId(const std::string& model_id, const std::string& expected);

}  // namespace vl2
