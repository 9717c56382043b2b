#include "tools/golden_check/prepared_case.h"

#include <cstring>

#include "runtime/base/status.h"
#include "tools/golden_check/golden_file.h"

namespace vl2 {

absl::StatusOr<PreparedCase> PrepareCase(const std::string& root, const Json& golden_case,
                                         const Tokenizer& tokenizer,
                                         const ProcessorConfig& processor) {
  PreparedCase prepared;
  VL2_ASSIGN_OR_RETURN(GoldenFile file,
                       GoldenFile::Open(root + "/preprocess/" +
                                        golden_case["case"].get<std::string>() + ".safetensors"));
  const auto a = *file.Ints("input_ids"); const auto b = *file.Ints("images_seq_mask");
  for (auto id : a) prepared.input_ids.push_back(static_cast<int32_t>(id));
  for (auto m : b) prepared.is_image.push_back(m != 0);
  const auto crops = *file.Ints("images_spatial_crop");
  if (file.Has("tiles_u8")) {
    for (size_t i = 0; i < crops.size(); i += 2) {
      prepared.images_spatial_crop.emplace_back(crops[i], crops[i + 1]);
    }
    const TensorView tiles = *file.Find("tiles_u8");
    for (int64_t t = 0; t < tiles.shape[0]; ++t) {
      prepared.tiles.emplace_back(384);
      std::memcpy(prepared.tiles.back().data(), tiles.bytes + t * 384 * 384 * 3, 384 * 384 * 3);
    }
  }
  return prepared;
}

}  // namespace vl2
