// The orientation tag (274) in a block of Exif data: a small TIFF with one directory that matters.
//
// Read as browsers and Pillow's exif_transpose do: the other entries of the directory, however
// broken, hide nothing, and a directory that is cut off ends where the bytes end. Of several
// orientation tags the last readable one counts, of several values the first. Where Pillow gives
// up at a value outside of the block and browsers go on, so does this.
//
// Threading: free functions, thread-safe. Errors: none; what cannot be read is orientation 1.
// Limits: at most the 65,535 entries of one directory are looked at, and no other directory.
#pragma once

#include <string_view>

namespace vl2 {

// 1..8. `exif` begins with the TIFF header or with "Exif\0\0" before it.
int ExifOrientation(std::string_view exif);

}  // namespace vl2
