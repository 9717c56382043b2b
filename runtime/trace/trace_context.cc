#include "runtime/trace/trace_context.h"

#include <cmath>
#include <random>
#include <span>

namespace vl2 {
namespace {

constexpr size_t kHeaderBytes = 55;  // of version 00: 2 + 1 + 32 + 1 + 16 + 1 + 2
constexpr uint8_t kSampledFlag = 1;

int Digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// REQUIRES: hex.size() == 2 * bytes.size().
bool FromHex(std::string_view hex, std::span<uint8_t> bytes) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    const int high = Digit(hex[2 * i]);
    const int low = Digit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    bytes[i] = static_cast<uint8_t>(high * 16 + low);
  }
  return true;
}

void AppendHex(std::span<const uint8_t> bytes, std::string& hex) {
  static constexpr char kDigits[] = "0123456789abcdef";
  for (const uint8_t byte : bytes) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
}

template <class Id>
Id RandomId() {
  thread_local std::mt19937_64 generator((uint64_t{std::random_device{}()} << 32) ^
                                         std::random_device{}());
  Id id{};
  while (id == Id{}) {
    for (size_t i = 0; i < id.size(); i += 8) {
      const uint64_t bits = generator();
      for (size_t k = 0; k < 8; ++k) id[i + k] = static_cast<uint8_t>(bits >> (8 * k));
    }
  }
  return id;
}

}  // namespace

TraceContext ParseTraceparent(std::string_view header) {
  uint8_t version = 0;
  uint8_t flags = 0;
  TraceContext context;
  if (header.size() < kHeaderBytes || header[2] != '-' || header[35] != '-' || header[52] != '-' ||
      !FromHex(header.substr(0, 2), {&version, 1}) || version == 0xff) {
    return {};
  }
  // What a later version adds begins with another dash.
  const bool has_more = header.size() > kHeaderBytes;
  if (has_more && (version == 0 || header[kHeaderBytes] != '-')) return {};
  if (!FromHex(header.substr(3, 32), context.trace_id) ||
      !FromHex(header.substr(36, 16), context.span_id) ||
      !FromHex(header.substr(53, 2), {&flags, 1}) || !context.valid()) {
    return {};
  }
  context.sampled = (flags & kSampledFlag) != 0;
  return context;
}

std::string FormatTraceparent(const TraceContext& context) {
  std::string header = "00-";
  header.reserve(kHeaderBytes);
  AppendHex(context.trace_id, header);
  header.push_back('-');
  AppendHex(context.span_id, header);
  header += context.sampled ? "-01" : "-00";
  return header;
}

std::string ToHex(const TraceId& id) {
  std::string hex;
  AppendHex(id, hex);
  return hex;
}

std::string ToHex(const SpanId& id) {
  std::string hex;
  AppendHex(id, hex);
  return hex;
}

TraceId MakeTraceId() { return RandomId<TraceId>(); }
SpanId MakeSpanId() { return RandomId<SpanId>(); }

bool IsInRatio(const TraceId& id, double ratio) {
  // The last 7 bytes are what every maker of ids must draw at random.
  constexpr int kRandomBytes = 7;
  uint64_t random = 0;
  for (size_t i = id.size() - kRandomBytes; i < id.size(); ++i) random = random << 8 | id[i];
  return static_cast<double>(random) < std::ldexp(ratio, 8 * kRandomBytes);
}

}  // namespace vl2
