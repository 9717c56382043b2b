// Between the contract's messages (vl2/v1/vision.proto) and the engine's own types.
//
// Threading: pure functions. Errors: INVALID_ARGUMENT names field, value and limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/tensor/matrix.h"
#include "vision_service/image/image_decoder.h"
#include "vision_service/image/tile_plan.h"
#include "vl2/v1/vision.pb.h"

namespace vl2 {

// Of one message with embeddings, about.
inline constexpr int64_t kEmbeddingMessageBytes = int64_t{1} << 20;

inline constexpr size_t kMaxIdBytes = 128;  // of request_id and client_id

absl::StatusOr<DecodePolicy> FromWire(v1::ImagePolicy policy);
absl::StatusOr<Tiling> FromWire(const v1::Tiling& tiling);
// Everything but policy and tiling.
absl::Status CheckHeader(const v1::EncodeHeader& header, int64_t max_file_bytes);
// Against the picture's plan.
absl::Status CheckStart(const v1::EncodeStart& start, const TilePlan& plan);
v1::ImageLayout MakeLayout(const ImageInfo& info, const TilePlan& plan);

// How many embeddings of `hidden` values go into one message; at least 1.
int64_t EmbeddingsPerMessage(int64_t hidden, v1::DType dtype);
// Rows as bytes of `dtype` (F32 or BF16).
std::string EmbeddingBytes(ConstHostMatrix rows, v1::DType dtype);

}  // namespace vl2
