// DrawBoxes: a picture with the boxes of an answer on it, as PNG.
//
// Coordinates are pixels of the picture as users see it: upright, alpha on white, as the vision
// service decoded it. Boxes of one label have one colour; the label stands at the box's upper left
// corner where a font is installed. What sticks out of the picture is cut.
//
// Threading: thread-safe. Errors: INVALID_ARGUMENT for bytes that are no picture; INTERNAL from
// libvips. Limits: ImageLimits' defaults; labels are cut at kMaxLabelBytes.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "vl2/v1/chat.pb.h"

namespace vl2::client {

inline constexpr size_t kMaxLabelBytes = 80;

// Groups of other pictures are left out. PNG bytes.
absl::StatusOr<std::string> DrawBoxes(std::string_view picture,
                                      std::span<const v1::BoxGroup> groups, int image_index);

// "out.png" for the only picture; "out-2.png" for picture 2 of several.
std::string BoxesPath(const std::string& path, int image_index, int num_pictures);

}  // namespace vl2::client
