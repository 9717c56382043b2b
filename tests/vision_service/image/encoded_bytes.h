// Encoded images made by hand, mostly hostile ones. Test-only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vision_service/image/tile_plan.h"

namespace vl2 {

std::string BigEndian(uint32_t value);
std::string LittleEndian(uint32_t value, int num_bytes);
// Length, kind, data and checksum.
std::string PngChunk(std::string_view kind, std::string_view data);

// A PNG whose image data are `rows` (filter bytes included) as a stored, uncompressed stream, with
// whole chunks before them. With empty rows there is no image data: a header alone.
std::string PngOf(Size size, int color_type, int depth, std::string_view rows,
                  std::string_view before_data = {});

// A GIF of 1 x 1 pixel frames.
std::string GifOfFrames(int num_frames);

// A chain of empty TIFF directories.
std::string TiffOfPages(int num_pages);
// A TIFF whose first directory names itself as the next.
std::string TiffInACircle();

// A TIFF directory that claims tiles of this size, and nothing else.
std::string TiffWithTiles(Size tile);

struct TiffEntry {
  uint32_t tag = 0;
  std::vector<uint32_t> values;
};
// A TIFF of one strip, which is `data`; its offset is added to the entries.
std::string TiffOf(const std::vector<TiffEntry>& entries, std::string_view data,
                   bool big_endian = false);

// `jpeg` with its last scan repeated.
std::string JpegOfScans(std::string_view jpeg, int num_repeats);

}  // namespace vl2
