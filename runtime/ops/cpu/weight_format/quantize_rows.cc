#include <algorithm>
#include <cstring>
#include <limits>

#include "runtime/ops/cpu/row_blocks.h"
#include "runtime/ops/cpu/weight_format/quantized_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/weight_format/quantize_rows.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "runtime/ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {

inline void PutWord(int32_t value, float* to) { std::memcpy(to, &value, 4); }

// Two 16-bit values, the first in the low half.
inline int32_t Pair(int32_t low, int32_t high) {
  return static_cast<int32_t>((static_cast<uint32_t>(low) & 0xffff) | static_cast<uint32_t>(high)
                                                                          << 16);
}

#if HWY_TARGET == HWY_SCALAR

// By the definition.
void QuantizeRecord(WeightFormat format, const float* x, float* record) {
  int32_t codes[kSuperblockK];
  *record++ = QuantizeGroup(format, x, kSuperblockK, codes);
  if (format != WeightFormat::kW4A8) {
    int32_t sum = 0;
    for (const int32_t code : codes) sum += code;
    PutWord(sum * (format == WeightFormat::kW7A8 ? -64 : -128), record++);
  } else {
    for (int64_t block = 0; block < kSuperblockK; block += kLowBitBlockK) {
      int32_t sums[2] = {};
      for (int64_t k = block; k < block + kLowBitBlockK; ++k) sums[k % 4 / 2] -= codes[k];
      PutWord(Pair(sums[0], sums[1]), record++);
    }
  }
  for (int64_t k = 0; k < kSuperblockK; k += 4) {
    const int32_t* four = codes + k;
    if (format == WeightFormat::kW8A16) {
      PutWord(Pair(four[0], four[2]), record++);
      PutWord(Pair(four[1], four[3]), record++);
    } else {
      PutWord(Pair((four[0] & 255) | four[1] << 8, (four[2] & 255) | four[3] << 8), record++);
    }
  }
}

#else

using D4 = hn::CappedTag<float, 4>;
using DI4 = hn::Rebind<int32_t, D4>;
using VI4 = hn::Vec<DI4>;

// x holds kSuperblockK floats. The same bits as the definition: the largest value and the sums of
// integers do not depend on the order.
void QuantizeRecord(WeightFormat format, const float* x, float* record) {
  const D4 d;
  const DI4 di;
  const DF wide;
  VF largest_of = hn::Zero(wide);
  VF not_finite = hn::Zero(wide);  // 0 · x is 0 for a finite x
  for (int64_t k = 0; k < kSuperblockK; k += static_cast<int64_t>(kVectorLanes)) {
    const VF value = hn::LoadU(wide, x + k);
    largest_of = hn::Max(largest_of, hn::Abs(value));
    not_finite = hn::Add(not_finite, hn::Mul(value, hn::Zero(wide)));
  }
  const bool finite = hn::AllTrue(wide, hn::Eq(not_finite, hn::Zero(wide)));
  const float largest = hn::GetLane(hn::MaxOfLanes(wide, largest_of));
  const auto limit = static_cast<float>(LargestCode(format));
  if (!finite || largest < 1e-30f) {
    std::memset(record, 0, static_cast<size_t>(RecordWords(format)) * 4);
    if (!finite) record[0] = std::numeric_limits<float>::quiet_NaN();
    return;
  }
  record[0] = largest / limit;
  const auto inverse = hn::Set(d, limit / largest);
  const auto code = [&](int64_t k) {
    return hn::NearestInt(hn::Mul(hn::LoadU(d, x + k), inverse));
  };
  if (format == WeightFormat::kW8A16) {
    const hn::Half<DI4> half;
    VI4 sums = hn::Zero(di);
    float* word = record + 2;
    for (int64_t k = 0; k < kSuperblockK; k += 4, word += 2) {
      const VI4 codes = code(k);
      sums = hn::Add(sums, codes);
      const VI4 pairs =
          hn::Or(hn::And(codes, hn::Set(di, 0xffff)), hn::ShiftLeft<16>(hn::Shuffle1032(codes)));
      alignas(16) int32_t two[2];
      hn::Store(hn::LowerHalf(half, pairs), half, two);
      std::memcpy(word, two, 8);
    }
    PutWord(-128 * hn::GetLane(hn::SumOfLanes(di, sums)), record + 1);
    return;
  }
  const hn::Rebind<int8_t, DI4> d8;
  const bool blocks = format == WeightFormat::kW4A8;
  float* word = record + (blocks ? 5 : 2);
  VI4 sums = hn::Zero(di);
  for (int64_t k = 0; k < kSuperblockK; k += 4, ++word) {
    const VI4 codes = code(k);
    sums = hn::Add(sums, codes);
    alignas(16) int8_t four[16];
    hn::StoreU(hn::DemoteTo(d8, codes), d8, four);
    std::memcpy(word, four, 4);
    if (blocks && k % kLowBitBlockK == kLowBitBlockK - 4) {
      alignas(16) int32_t lanes[4];
      hn::Store(sums, di, lanes);
      PutWord(Pair(-lanes[0] - lanes[1], -lanes[2] - lanes[3]), record + 1 + k / kLowBitBlockK);
      sums = hn::Zero(di);
    }
  }
  if (!blocks) PutWord(-64 * hn::GetLane(hn::SumOfLanes(di, sums)), record + 1);
}

#endif

void QuantizeRow(WeightFormat format, const float* x, int64_t in, float* records) {
  for (int64_t k = 0; k < in; k += kSuperblockK, records += RecordWords(format)) {
    if (in - k >= kSuperblockK) {
      QuantizeRecord(format, x + k, records);
    } else {
      float padded[kSuperblockK] = {};
      std::memcpy(padded, x + k, static_cast<size_t>(in - k) * sizeof(float));
      QuantizeRecord(format, padded, records);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vl2 {

HWY_EXPORT(QuantizeRow);

ConstHostMatrix RowsFor(WeightFormat format, ConstHostMatrix x, ThreadPool* pool,
                        GrowingHostMatrix* memory) {
  if (format == WeightFormat::kAsStored) return x;
  const HostMatrix records = memory->Resize(x.rows, RowWords(format, x.cols));
  const auto quantize = HWY_DYNAMIC_DISPATCH(QuantizeRow);
  ForRowBlocks(pool, x.rows, 2 * x.cols, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      quantize(format, x.row(row), x.cols, records.row(row));
    }
  });
  return records;
}

}  // namespace vl2
#endif  // HWY_ONCE
