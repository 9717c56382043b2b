// CRC-32C (Castagnoli polynomial 0x1EDC6F41, as in RFC 3720), the checksum of uploaded embeddings.
#pragma once

#include <cstdint>
#include <string_view>

namespace vl2 {

// Pure; about 1.5 GB/s.
uint32_t Crc32c(std::string_view bytes);

}  // namespace vl2
