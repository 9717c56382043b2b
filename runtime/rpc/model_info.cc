#include "runtime/rpc/model_info.h"

#include <cstdint>
#include <random>

#include "absl/strings/str_format.h"
#include "runtime/base/json.h"
#include "runtime/base/model_folder.h"
#include "runtime/base/status.h"

namespace vl2 {

namespace {
constexpr size_t kMaxConfigBytes = size_t{1} << 20;

std::string RandomId() {
  std::random_device random;
  return absl::StrFormat("%08x%08x", random(), random());
}

}  // namespace

absl::StatusOr<v1::ModelInfo> ReadModelInfo(const std::string& checkpoint_dir,
                                            const std::string& model_name) {
  v1::ModelInfo info;
  VL2_ASSIGN_OR_RETURN(*info.mutable_config_json(),
                       ReadFile(checkpoint_dir + "/config.json", kMaxConfigBytes));
  VL2_ASSIGN_OR_RETURN(*info.mutable_processor_config_json(),
                       ReadFile(checkpoint_dir + "/processor_config.json", kMaxConfigBytes));
  info.set_instance_id(RandomId());
  info.set_model_name(model_name);
  if (model_name.empty()) info.set_model_name(ModelNameOfFolder(checkpoint_dir));
  return info;
}

absl::Status CheckModelId(const std::string& model_id, const std::string& expected) {
  if (expected.empty() || model_id == expected) return absl::OkStatus();
  return absl::FailedPreconditionError(
      Cat("the checkpoint's model_id is ", model_id, ", --expect_model_id is ", expected));
}

}  // namespace vl2
