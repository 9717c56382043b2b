// ContentKey: names the embeddings of one picture. Equal keys mean equal embeddings, to the bit on
// one build; the language service shares keys and values under them, so they are never taken from a
// client.
#pragma once

#include <string>
#include <string_view>

#include "runtime/base/sha256.h"
#include "vision_service/image/image_decoder.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

// Raised with every change of decoding, tiling or normalisation that moves a pixel.
inline constexpr int kPreprocessingVersion = 2;

// 32 bytes: a SHA-256 over the file's digest, the policy, the picture's and the tiles' layout, the
// preprocessing version and the model with its weights. The layout stands for the request's tiling
// mode: two modes that choose the same tiles share embeddings.
std::string MakeContentKey(const Sha256Digest& file_digest, const DecodePolicy& policy,
                           const TilePlan& plan, std::string_view model);

}  // namespace vl2
