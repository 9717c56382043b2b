#include "runtime/base/sha256.h"

#include <openssl/evp.h>

#include "runtime/base/check.h"

namespace vl2 {

struct Sha256::Context {
  EVP_MD_CTX* md = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(md); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  VL2_CHECK(EVP_DigestInit_ex(context_->md, EVP_sha256(), nullptr) == 1);
}

Sha256::~Sha256() = default;

void Sha256::Update(const void* data, size_t num_bytes) {
  VL2_CHECK(EVP_DigestUpdate(context_->md, data, num_bytes) == 1);
}

Sha256Digest Sha256::Finish() {
  Sha256Digest digest;
  unsigned int num_bytes = 0;
  VL2_CHECK(EVP_DigestFinal_ex(context_->md, digest.data(), &num_bytes) == 1);
  VL2_CHECK(num_bytes == digest.size());
  return digest;
}

std::string ToHex(const Sha256Digest& digest) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const uint8_t byte : digest) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

}  // namespace vl2
