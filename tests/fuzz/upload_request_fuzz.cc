// Any bytes as an UploadRequest, a header or a chunk: refused with a reason, or embeddings that are
// finite and belong to the picture.
#include <cmath>
#include <cstdint>
#include <vector>

#include "lm_service/engine/request_check.h"
#include "lm_service/service/wire.h"
#include "runtime/base/check.h"
#include "runtime/base/crc32c.h"

namespace vl2 {
namespace {

constexpr int64_t kHidden = 4;
const std::vector<int64_t> kSlotSizes = {1, 7, 400};

void TakeHeader(const v1::UploadHeader& header) {
  static UploadTickets* const tickets = [] {
    auto* const made = new UploadTickets;
    made->Add(7, {"0123456789abcdef", "fedcba9876543210"});
    return made;
  }();
  const bool accepted = CheckUploadHeader(header, "model", *tickets).ok();
  const bool is_right = header.model_id() == "model" && header.sequence_id() == 7 &&
                        (header.dtype() == v1::DTYPE_F32 || header.dtype() == v1::DTYPE_BF16) &&
                        ((header.slot() == 0 && header.upload_token() == "0123456789abcdef") ||
                         (header.slot() == 1 && header.upload_token() == "fedcba9876543210"));
  VL2_CHECK(accepted == is_right) << header.sequence_id() << " " << header.slot();
}

void TakeChunk(v1::UploadChunk chunk) {
  (void)FromWire(chunk, v1::DTYPE_F32, kHidden);
  // No fuzzer guesses a checksum.
  chunk.set_crc32c(Crc32c(chunk.data()));
  for (const v1::DType dtype : {v1::DTYPE_F32, v1::DTYPE_BF16}) {
    const auto rows = FromWire(chunk, dtype, kHidden);
    if (!rows.ok()) continue;
    VL2_CHECK(static_cast<int64_t>(rows->size()) == chunk.num_embeddings() * kHidden);
    for (const float value : *rows) VL2_CHECK(std::isfinite(value)) << value;
    for (int slot = -1; slot < 4; ++slot) {
      const auto num_values = static_cast<int64_t>(rows->size());
      const int64_t first = chunk.first_embedding();
      if (!CheckUpload(kSlotSizes, slot, first, num_values, kHidden).ok()) continue;
      VL2_CHECK(slot >= 0 && slot < 3 && first >= 0);
      VL2_CHECK(first + chunk.num_embeddings() <= kSlotSizes[static_cast<size_t>(slot)]) << first;
    }
  }
}

}  // namespace
}  // namespace vl2

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vl2::v1::UploadRequest wire;
  if (!wire.ParseFromArray(data, static_cast<int>(size))) return 0;
  if (wire.has_header()) vl2::TakeHeader(wire.header());
  if (wire.has_chunk()) vl2::TakeChunk(wire.chunk());
  return 0;
}
