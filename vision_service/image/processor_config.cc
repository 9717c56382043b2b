#include "vision_service/image/processor_config.h"

#include "runtime/base/status.h"

namespace vl2 {
namespace {

constexpr size_t kMaxListed = 1024;

absl::StatusOr<std::vector<Size>> ReadCandidates(const JsonFields& fields) {
  const Json* list = fields.Find("candidate_resolutions");
  if (list == nullptr || !list->is_array() || list->empty() || list->size() > kMaxListed) {
    return InvalidArgument(fields.context(), ".candidate_resolutions: must be a list of 1 to ",
                           kMaxListed, " [width, height] pairs");
  }
  std::vector<Size> candidates;
  for (const Json& pair : *list) {
    const auto side = [&pair](size_t index) -> int64_t {
      const bool there = pair.is_array() && pair.size() == 2 && pair[index].is_number_integer();
      return there ? pair[index].get<int64_t>() : 0;
    };
    if (side(0) < 1 || side(1) < 1 || side(0) > kMaxPlannedSide || side(1) > kMaxPlannedSide) {
      return InvalidArgument(fields.context(), ".candidate_resolutions: ", pair.dump(),
                             " is not a [width, height] of 1 to ", kMaxPlannedSide);
    }
    candidates.push_back({static_cast<int>(side(0)), static_cast<int>(side(1))});
  }
  return candidates;
}

// Three numbers in [min, max], or `value` as it is when the key is absent.
absl::Status ReadThree(const JsonFields& fields, const char* key, float min, float max,
                       std::array<float, 3>& value) {
  const Json* list = fields.Find(key);
  if (list == nullptr) return absl::OkStatus();
  if (!list->is_array() || list->size() != value.size()) {
    return InvalidArgument(fields.context(), ".", key, ": must be a list of 3 numbers");
  }
  for (size_t c = 0; c < value.size(); ++c) {
    const Json& number = (*list)[c];
    const double read = number.is_number() ? number.get<double>() : min - 1.0;
    if (!(read >= min && read <= max)) {
      return InvalidArgument(fields.context(), ".", key, ": ", number.dump(), ", must be ", min,
                             " to ", max);
    }
    value[c] = static_cast<float>(read);
  }
  return absl::OkStatus();
}

}  // namespace

Rgb ImageProcessorConfig::background() const {
  Rgb color;
  for (size_t c = 0; c < color.size(); ++c) {
    color[c] = static_cast<uint8_t>(static_cast<double>(image_mean[c]) * 255.0);
  }
  return color;
}

absl::StatusOr<ImageProcessorConfig> ParseImageProcessorConfig(const Json& processor_config) {
  if (!processor_config.is_object()) {
    return InvalidArgument("processor_config.json: must be an object");
  }
  const JsonFields fields(processor_config, "processor_config.json");
  ImageProcessorConfig config;
  TileGeometry& geometry = config.geometry;
  VL2_ASSIGN_OR_RETURN(geometry.candidate_resolutions, ReadCandidates(fields));
  geometry.tile_size = geometry.candidate_resolutions.front().width;
  VL2_ASSIGN_OR_RETURN(const int64_t patch_size,
                       fields.Int("patch_size", geometry.patch_size, 1, kMaxPlannedSide));
  VL2_ASSIGN_OR_RETURN(
      const int64_t downsample_ratio,
      fields.Int("downsample_ratio", geometry.downsample_ratio, 1, kMaxPlannedSide));
  geometry.patch_size = static_cast<int>(patch_size);
  geometry.downsample_ratio = static_cast<int>(downsample_ratio);
  VL2_RETURN_IF_ERROR(Annotate(geometry.Validate(), fields.context()));
  VL2_RETURN_IF_ERROR(ReadThree(fields, "image_mean", 0.0f, 1.0f, config.image_mean));
  VL2_RETURN_IF_ERROR(ReadThree(fields, "image_std", 1e-4f, 1e4f, config.image_std));
  VL2_ASSIGN_OR_RETURN(config.normalize, fields.Bool("normalize", true));
  return config;
}

}  // namespace vl2
