#include "runtime/rpc/tls_files.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string_view>
#include <utility>

#include "runtime/base/status.h"

namespace vl2 {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFileBytes = size_t{1} << 20;
constexpr size_t kMaxCaFiles = 100;

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* thing) const {
    Free(thing);
  }
};
void FreeNames(GENERAL_NAMES* names) { GENERAL_NAMES_free(names); }
void FreeStack(STACK_OF(X509) * stack) { sk_X509_free(stack); }
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Store = std::unique_ptr<X509_STORE, Freer<X509_STORE_free>>;
using StoreContext = std::unique_ptr<X509_STORE_CTX, Freer<X509_STORE_CTX_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Freer<FreeNames>>;
using Stack = std::unique_ptr<STACK_OF(X509), Freer<FreeStack>>;

absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return InvalidArgument("it is a folder");
  std::ifstream file(path, std::ios::binary);
  if (!file) return InvalidArgument("it cannot be read");
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (file.bad()) return InvalidArgument("it cannot be read");
  if (text.size() > kMaxFileBytes) {
    return InvalidArgument("it has more than ", kMaxFileBytes, " bytes");
  }
  return text;
}

Bio BioOf(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

absl::StatusOr<std::vector<Certificate>> ParseCertificates(const std::string& pem) {
  std::vector<Certificate> found;
  const Bio bio = BioOf(pem);
  while (X509* const each = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    found.emplace_back(each);
  }
  // The end of the text is an error like others.
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  if (found.empty() || ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
    return InvalidArgument("it holds ", found.empty() ? "no" : "a broken", " PEM certificate");
  }
  return found;
}

absl::StatusOr<std::string> ReadCas(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return ReadText(path);
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    const std::string extension = entry.path().extension();
    if (extension == ".crt" || extension == ".pem") files.push_back(entry.path());
  }
  if (error) return InvalidArgument("it cannot be read");
  if (files.empty()) return InvalidArgument("the folder has no *.crt and no *.pem");
  if (files.size() > kMaxCaFiles) {
    return InvalidArgument("the folder has ", files.size(), " files, the limit is ", kMaxCaFiles);
  }
  std::sort(files.begin(), files.end());
  std::string all;
  for (const std::string& file : files) {
    VL2_ASSIGN_OR_RETURN(const std::string text, ReadText(file));
    if (const auto parsed = ParseCertificates(text); !parsed.ok()) {
      return Annotate(parsed.status(), file);
    }
    all += text;
    if (!all.ends_with('\n')) all += '\n';
  }
  return all;
}

int64_t SecondsOf(const ASN1_TIME* time) {
  std::tm parts{};
  return ASN1_TIME_to_tm(time, &parts) == 1 ? static_cast<int64_t>(timegm(&parts)) : 0;
}

std::string DateOf(int64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  char text[32];
  gmtime_r(&time, &parts);
  return std::string(text, std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts));
}

absl::Status CheckTimes(const X509* certificate) {
  const int64_t begin = SecondsOf(X509_get0_notBefore(certificate));
  const int64_t end = SecondsOf(X509_get0_notAfter(certificate));
  const auto now = static_cast<int64_t>(std::time(nullptr));
  if (now < begin) {
    return absl::FailedPreconditionError(
        Cat("the certificate is not valid before ", DateOf(begin)));
  }
  if (now >= end) {
    return absl::FailedPreconditionError(Cat("the certificate expired at ", DateOf(end)));
  }
  return absl::OkStatus();
}

std::vector<std::string> DnsNames(X509* certificate) {
  std::vector<std::string> found;
  const Names names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_DNS) continue;
    found.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                       static_cast<size_t>(ASN1_STRING_length(name->d.dNSName)));
  }
  return found;
}

absl::Status CheckKey(const std::string& pem, const X509* certificate) {
  const Bio bio = BioOf(pem);
  // Never asks a terminal for the password of an encrypted key.
  const auto no_password = [](char*, int, int, void*) { return -1; };
  const Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr));
  ERR_clear_error();
  if (key == nullptr) return InvalidArgument("it holds no PEM key that needs no password");
  const bool match = X509_check_private_key(certificate, key.get()) == 1;
  ERR_clear_error();
  if (!match) return absl::FailedPreconditionError("the key is not the certificate's");
  return absl::OkStatus();
}

// That peers who trust the CAs will trust the certificate.
absl::Status CheckChain(const std::vector<Certificate>& chain,
                        const std::vector<Certificate>& cas) {
  const Store store(X509_STORE_new());
  for (const Certificate& ca : cas) X509_STORE_add_cert(store.get(), ca.get());
  const Stack between(sk_X509_new_null());
  for (size_t i = 1; i < chain.size(); ++i) sk_X509_push(between.get(), chain[i].get());
  const StoreContext context(X509_STORE_CTX_new());
  X509_STORE_CTX_init(context.get(), store.get(), chain[0].get(), between.get());
  const bool fine = X509_verify_cert(context.get()) == 1;
  const int error = X509_STORE_CTX_get_error(context.get());
  ERR_clear_error();
  if (fine) return absl::OkStatus();
  return absl::FailedPreconditionError(Cat("the certificate does not lead to a CA of --tls_ca: ",
                                           X509_verify_cert_error_string(error)));
}

}  // namespace

absl::Status TlsOptions::Validate() const {
  if (refresh_ms < 1 || refresh_ms > kMaxRefreshMs) {
    return InvalidArgument("--tls_refresh_ms ", refresh_ms, " is outside [1, ", kMaxRefreshMs, "]");
  }
  if (cert.empty() && key.empty() && ca.empty()) return absl::OkStatus();
  for (const auto& [flag, value] : {std::pair("cert", &cert), std::pair("key", &key)}) {
    if (value->empty()) {
      return InvalidArgument("--", name, "_", flag, " is needed where the others are given");
    }
  }
  if (needs_ca && ca.empty()) {
    return InvalidArgument("--", name, "_ca is needed where the others are given");
  }
  return absl::OkStatus();
}

absl::StatusOr<TlsMaterial> ReadTlsFiles(const TlsOptions& options) {
  const auto tell = [&](const absl::Status& status, const char* flag, const std::string& path) {
    return Annotate(status, Cat("--", options.name, "_", flag, " ", path));
  };
  TlsMaterial material;
  auto text = ReadText(options.cert);
  if (!text.ok()) return tell(text.status(), "cert", options.cert);
  material.cert = *std::move(text);
  const auto chain = ParseCertificates(material.cert);
  if (!chain.ok()) return tell(chain.status(), "cert", options.cert);
  text = ReadText(options.key);
  if (!text.ok()) return tell(text.status(), "key", options.key);
  material.key = *std::move(text);
  VL2_RETURN_IF_ERROR(tell(CheckKey(material.key, chain->front().get()), "key", options.key));

  material.expiry_s = SecondsOf(X509_get0_notAfter(chain->front().get()));
  for (const Certificate& each : *chain) {
    VL2_RETURN_IF_ERROR(tell(CheckTimes(each.get()), "cert", options.cert));
    material.expiry_s = std::min(material.expiry_s, SecondsOf(X509_get0_notAfter(each.get())));
  }
  material.names = DnsNames(chain->front().get());
  if (material.names.empty()) {
    return tell(InvalidArgument("the certificate has no DNS name, by which peers know it"), "cert",
                options.cert);
  }
  if (options.ca.empty()) return material;
  text = ReadCas(options.ca);
  if (!text.ok()) return tell(text.status(), "ca", options.ca);
  material.ca = *std::move(text);
  const auto cas = ParseCertificates(material.ca);
  if (!cas.ok()) return tell(cas.status(), "ca", options.ca);
  VL2_RETURN_IF_ERROR(tell(CheckChain(*chain, *cas), "cert", options.cert));
  return material;
}

}  // namespace vl2
