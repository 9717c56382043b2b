// Any bytes as the header of a safetensors file: an error or entries that keep their promises.
#include <cstdint>
#include <string_view>

#include "runtime/base/check.h"
#include "runtime/checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // The first byte scales the data part, so that offsets are inside it now and then.
  if (size == 0) return 0;
  const uint64_t data_bytes = uint64_t{1} << (data[0] % 40);
  const std::string_view json(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto header = vl2::ParseSafetensorsHeader(json, data_bytes, "fuzz");
  if (!header.ok()) return 0;
  for (const auto& [name, entry] : *header) {
    VL2_CHECK(entry.begin <= entry.end && entry.end <= data_bytes);
    VL2_CHECK(entry.end - entry.begin ==
              static_cast<uint64_t>(entry.shape.num_elements()) * vl2::SizeOf(entry.dtype));
  }
  return 0;
}
