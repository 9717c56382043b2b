#include "vision_service/engine/content_key.h"

#include "runtime/base/status.h"

namespace vl2 {

std::string MakeContentKey(const Sha256Digest& file_digest, const DecodePolicy& policy,
                           const TilePlan& plan, std::string_view model) {
  Sha256 sha;
  sha.Update(Cat("vl2 content key\n", kPreprocessingVersion, "\n", ToHex(file_digest), "\n",
                 static_cast<int>(policy.orientation), " ", static_cast<int>(policy.alpha), " ",
                 static_cast<int>(policy.gray16), "\n", plan.image, "\n", plan.tiles_wide, " ",
                 plan.tiles_high, " ", plan.tile_size, "\n", model));
  const Sha256Digest digest = sha.Finish();
  return std::string(digest.begin(), digest.end());
}

}  // namespace vl2
