#include "vision_service/service/wire.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/client_name.h"
#include "runtime/base/status.h"
#include "runtime/tensor/dtype.h"

namespace vl2 {

absl::StatusOr<DecodePolicy> FromWire(v1::ImagePolicy policy) {
  switch (policy) {
    case v1::IMAGE_POLICY_UNSPECIFIED:
    case v1::IMAGE_POLICY_SERVING:
      return DecodePolicy::Serving();
    case v1::IMAGE_POLICY_PUBLISHED:
      return DecodePolicy::Published();
    default:
      return InvalidArgument("policy ", static_cast<int>(policy), " is not known");
  }
}

absl::StatusOr<Tiling> FromWire(const v1::Tiling& tiling) {
  switch (tiling.mode_case()) {
    case v1::Tiling::kBestOfAll:
      return Tiling::Published(tiling.best_of_all());
    case v1::Tiling::kMaxTiles:
      if (tiling.max_tiles() < 1 || tiling.max_tiles() > kMaxLocalTiles) {
        return InvalidArgument("max_tiles ", tiling.max_tiles(), " is outside [1, ", kMaxLocalTiles,
                               "]");
      }
      return Tiling::Budget(tiling.max_tiles());
    case v1::Tiling::kFixed:
      for (const int side : {tiling.fixed().tiles_wide(), tiling.fixed().tiles_high()}) {
        if (side < 1 || side > kMaxLocalTiles) {
          return InvalidArgument("a fixed tiling with a side of ", side, " tiles is outside [1, ",
                                 kMaxLocalTiles, "]");
        }
      }
      return Tiling::Fixed(tiling.fixed().tiles_wide(), tiling.fixed().tiles_high());
    case v1::Tiling::MODE_NOT_SET:
      break;
  }
  return Tiling::Published(true);
}

absl::Status CheckHeader(const v1::EncodeHeader& header, int64_t max_file_bytes) {
  if (header.request_id().size() > kMaxIdBytes) {
    return InvalidArgument("request_id has ", header.request_id().size(), " bytes, the limit is ",
                           kMaxIdBytes);
  }
  if (header.client_id().size() > kMaxIdBytes) {
    return InvalidArgument("client_id has ", header.client_id().size(), " bytes, the limit is ",
                           kMaxIdBytes);
  }
  if (header.priority() < -kMaxPriority || header.priority() > kMaxPriority) {
    return InvalidArgument("priority is ", header.priority(), ", it must be in [", -kMaxPriority,
                           ", ", kMaxPriority, "]");
  }
  if (header.total_bytes() < 0 || header.total_bytes() > max_file_bytes) {
    return InvalidArgument("the file has ", header.total_bytes(), " bytes, the limit is ",
                           max_file_bytes);
  }
  return absl::OkStatus();
}

absl::Status CheckStart(const v1::EncodeStart& start, const TilePlan& plan) {
  if (start.first_embedding() < 0 || start.first_embedding() > plan.num_embeddings) {
    return InvalidArgument("first_embedding ", start.first_embedding(), " of a picture that has ",
                           plan.num_embeddings);
  }
  if (start.destination_case() == v1::EncodeStart::DESTINATION_NOT_SET) {
    return InvalidArgument("a start without destination");
  }
  const int dtype = start.return_to_caller().dtype();
  if (start.has_return_to_caller() && (dtype < 0 || dtype > v1::DTYPE_BF16)) {
    return InvalidArgument("dtype ", dtype, " is neither F32 nor BF16");
  }
  return absl::OkStatus();
}

v1::ImageLayout MakeLayout(const ImageInfo& info, const TilePlan& plan) {
  v1::ImageLayout layout;
  layout.set_width(plan.image.width);
  layout.set_height(plan.image.height);
  layout.set_tiles_wide(plan.tiles_wide);
  layout.set_tiles_high(plan.tiles_high);
  layout.set_num_embeddings(plan.num_embeddings);
  layout.set_format(std::string(Name(info.format)));
  return layout;
}

int64_t EmbeddingsPerMessage(int64_t hidden, v1::DType dtype) {
  return std::max(int64_t{1},
                  kEmbeddingMessageBytes / (hidden * (dtype == v1::DTYPE_BF16 ? 2 : 4)));
}

std::string EmbeddingBytes(ConstHostMatrix rows, v1::DType dtype) {
  const auto num_values = static_cast<size_t>(rows.rows * rows.cols);
  if (dtype != v1::DTYPE_BF16) {
    return std::string(reinterpret_cast<const char*>(rows.data), num_values * sizeof(float));
  }
  std::string bytes(num_values * sizeof(BFloat16), '\0');
  for (size_t i = 0; i < num_values; ++i) {
    const BFloat16 value = ToBFloat16(rows.data[i]);
    std::memcpy(bytes.data() + i * sizeof(value), &value, sizeof(value));
  }
  return bytes;
}

}  // namespace vl2
