#include "runtime/rpc/model_info.h"

#include "runtime/base/json.h"
#include "runtime/base/model_folder.h"
#include "runtime/base/status.h"

namespace vl2 {

namespace {
constexpr size_t kMaxConfigBytes = size_t{1} << 20;
}

absl::StatusOr<v1::ModelInfo> ReadModelInfo(const std::string& checkpoint_dir,
                                            const std::string& model_name) {
  v1::ModelInfo info;
  VL2_ASSIGN_OR_RETURN(*info.mutable_config_json(),
                       ReadFile(checkpoint_dir + "/config.json", kMaxConfigBytes));
  VL2_ASSIGN_OR_RETURN(*info.mutable_processor_config_json(),
                       ReadFile(checkpoint_dir + "/processor_config.json", kMaxConfigBytes));
  info.set_model_name(model_name);
  if (model_name.empty()) info.set_model_name(ModelNameOfFolder(checkpoint_dir));
  return info;
}

}  // namespace vl2
