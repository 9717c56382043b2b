// SHA-256 of a byte string; the implementation is OpenSSL's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace vl2 {

using Sha256Digest = std::array<uint8_t, 32>;

// Digest of bytes given piece by piece. Not thread-safe. Finish() ends it.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void Update(const void* data, size_t num_bytes);
  void Update(std::string_view bytes) { Update(bytes.data(), bytes.size()); }
  Sha256Digest Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// Lower-case hexadecimal.
std::string ToHex(const Sha256Digest& digest);

inline std::string Sha256Hex(const void* data, size_t num_bytes) {
  Sha256 sha;
  sha.Update(data, num_bytes);
  return ToHex(sha.Finish());
}

}  // namespace vl2
