#include "tools/golden_check/checks.h"
#include "tools/golden_check/golden_file.h"
#include "tools/golden_check/prepared_case.h"

namespace vl2 {

void CheckPrompt(const std::string& item, const GoldenFile& golden, const PreparedCase& prepared,
                 Report& report) {
  const std::vector<int64_t> ids(prepared.layout.input_ids.begin(),
                                 prepared.layout.input_ids.end());
  const std::vector<int64_t> mask(prepared.layout.image_mask.begin(),
                                  prepared.layout.image_mask.end());
  std::vector<int64_t> crops;
  for (const auto& [wide, high] : prepared.images_spatial_crop) {
    crops.push_back(wide);
    crops.push_back(high);
  }
  if (crops.empty()) crops = {0, 0};
  report.CompareExact(item, "input_ids", *golden.Ints("input_ids"), ids);
  report.CompareExact(item, "images_seq_mask", *golden.Ints("images_seq_mask"), mask);
  report.CompareExact(item, "images_spatial_crop", *golden.Ints("images_spatial_crop"), crops);
}

TileGeometry PublishedGeometry() {
  // Every w × h of at most nine 384-pixel tiles, in the order of the published files.
  static constexpr int kTiles[][2] = {{1, 1}, {1, 2}, {2, 1}, {1, 3}, {3, 1}, {1, 4},
                                      {4, 1}, {2, 2}, {1, 5}, {5, 1}, {1, 6}, {6, 1},
                                      {2, 3}, {3, 2}, {1, 7}, {7, 1}, {1, 8}, {8, 1},
                                      {2, 4}, {4, 2}, {1, 9}, {9, 1}, {3, 3}};
  TileGeometry geometry;
  for (const auto& [wide, high] : kTiles) {
    geometry.candidate_resolutions.push_back({wide * 384, high * 384});
  }
  return geometry;
}

}  // namespace vl2
