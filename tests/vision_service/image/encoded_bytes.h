// Encoded images made by hand, mostly hostile ones. Test-only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "vision_service/image/tile_plan.h"

namespace vl2 {

// A PNG whose image data are `rows` (filter bytes included) as a stored, uncompressed stream. With
// empty rows there is no image data: a header alone.
std::string PngOf(Size size, int color_type, int depth, std::string_view rows);

// A GIF of 1 x 1 pixel frames.
std::string GifOfFrames(int num_frames);

// A chain of empty TIFF directories.
std::string TiffOfPages(int num_pages);
// A TIFF whose first directory names itself as the next.
std::string TiffInACircle();

// A TIFF directory that claims tiles of this size, and nothing else.
std::string TiffWithTiles(Size tile);

// `jpeg` with its last scan repeated.
std::string JpegOfScans(std::string_view jpeg, int num_repeats);

}  // namespace vl2
