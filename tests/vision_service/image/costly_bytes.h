// Small files that ask for much work. Test-only.
#pragma once

#include <string>

namespace vl2 {

// A zlib stream (without its checksum) of so many times 16 MiB of zeros: 16 kB each.
std::string DeflatedZeros(int num_blocks);

// A PNG of 8 x 8 pixels whose image data go on for so many times 16 MiB, 10 ms of work each.
std::string PngWithTooMuchData(int num_blocks);

}  // namespace vl2
