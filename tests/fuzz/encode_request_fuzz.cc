// Any bytes as an EncodeRequest: what validation lets through is what the service relies on.
#include <cstddef>
#include <cstdint>

#include "runtime/base/check.h"
#include "vision_service/service/wire.h"
#include "vl2/v1/vision.pb.h"

namespace {

void TryHeader(const vl2::v1::EncodeHeader& header) {
  constexpr int64_t kMaxFileBytes = int64_t{20} << 20;
  if (!vl2::CheckHeader(header, kMaxFileBytes).ok()) return;
  VL2_CHECK(header.request_id().size() <= 128 && header.client_id().size() <= 128 &&
            header.total_bytes() >= 0 && header.total_bytes() <= kMaxFileBytes)
      << header.total_bytes();
  if (!vl2::FromWire(header.policy()).ok()) return;
  const auto tiling = vl2::FromWire(header.tiling());
  if (!tiling.ok()) return;
  vl2::TileGeometry geometry;
  geometry.candidate_resolutions = {{384, 384}, {768, 384}, {384, 768}, {768, 768}};
  for (const vl2::Size size : {vl2::Size{1, 1}, {640, 480}, {65535, 1}, {1024, 65535}}) {
    const auto plan = vl2::PlanTiles(size, geometry, *tiling);
    VL2_CHECK(!plan.ok() || (plan->num_tiles >= 2 && plan->num_tiles <= 1 + vl2::kMaxLocalTiles &&
                             plan->num_embeddings > 0))
        << plan->num_tiles;
  }
}

void TryStart(const vl2::v1::EncodeStart& start) {
  vl2::TilePlan plan;
  plan.num_embeddings = 1023;
  if (!vl2::CheckStart(start, plan).ok()) return;
  VL2_CHECK(start.first_embedding() >= 0 && start.first_embedding() <= 1023)
      << start.first_embedding();
  VL2_CHECK(vl2::EmbeddingsPerMessage(64, start.return_to_caller().dtype()) >= 1) << "none";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vl2::v1::EncodeRequest request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return 0;
  if (request.has_header()) TryHeader(request.header());
  if (request.has_start()) TryStart(request.start());
  return 0;
}
