#include "gateway/session/api_keys.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "runtime/base/client_name.h"
#include "runtime/base/error_details.h"
#include "runtime/base/log.h"
#include "runtime/base/sha256.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;
constexpr double kMaxRetryAfter = 60;

absl::Status BadField(int line, const char* field, const std::string& value, const char* wanted) {
  return InvalidArgument("line ", line, ": ", field, " \"", value, "\" is not ", wanted);
}

bool IsName(const std::string& text) {
  return !text.empty() && text.size() <= 64 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

absl::Status ParseLimit(int line, const char* field, const std::string& text, int64_t& value) {
  if (text == "-") return absl::OkStatus();
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 ||
      value > 1'000'000'000) {
    return BadField(line, field, text, "\"-\" or a number from 1 to 1000000000");
  }
  return absl::OkStatus();
}

absl::Status ParseOption(int line, const std::string& word, ApiKey& key) {
  constexpr std::string_view kPriority = "priority=";
  if (word == "admin") {
    key.is_admin = true;
    return absl::OkStatus();
  }
  if (!word.starts_with(kPriority)) return BadField(line, "word", word, "admin or priority=N");
  const char* const end = word.data() + word.size();
  const auto [read, error] = std::from_chars(word.data() + kPriority.size(), end, key.priority);
  if (error != std::errc() || read != end || std::abs(key.priority) > kMaxPriority) {
    return BadField(line, "word", word, "priority= with a number from -100 to 100");
  }
  return absl::OkStatus();
}

absl::Status ParseLine(int line, const std::vector<std::string>& words,
                       std::map<std::string, ApiKey>& keys) {
  if (words.size() < 6 || words.size() > 8) {
    return InvalidArgument("line ", line, " has ", words.size(),
                           " words, not name, sha256, tenant, requests_per_min, concurrent, "
                           "tokens_per_min and perhaps admin and priority=N");
  }
  ApiKey key;
  key.name = words[0];
  const std::string& digest = words[1];
  key.tenant = words[2];
  if (!IsName(key.name)) {
    return BadField(line, "name", key.name, "1 to 64 letters, digits, '-', '_' or '.'");
  }
  if (digest.size() != 64 || digest.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return BadField(line, "sha256", digest, "64 lower-case hexadecimal digits");
  }
  if (!IsName(key.tenant)) {
    return BadField(line, "tenant", key.tenant, "1 to 64 letters, digits, '-', '_' or '.'");
  }
  VL2_RETURN_IF_ERROR(ParseLimit(line, "requests_per_min", words[3], key.requests_per_min));
  VL2_RETURN_IF_ERROR(ParseLimit(line, "concurrent", words[4], key.concurrent));
  VL2_RETURN_IF_ERROR(ParseLimit(line, "tokens_per_min", words[5], key.tokens_per_min));
  for (size_t i = 6; i < words.size(); ++i) VL2_RETURN_IF_ERROR(ParseOption(line, words[i], key));
  const std::string name = key.name;
  for (const auto& [other_digest, other] : keys) {
    if (other.name == name)
      return InvalidArgument("line ", line, ": name ", name, " is there twice");
  }
  if (!keys.emplace(digest, std::move(key)).second) {
    return InvalidArgument("line ", line, ": the digest of ", name, " is there twice");
  }
  return absl::OkStatus();
}

std::string HexOf(std::string_view text) { return Sha256Hex(text.data(), text.size()); }

absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return InvalidArgument("--api_keys ", path, " cannot be read");
  std::string text;
  char block[4096];
  while (file.read(block, sizeof(block)) || file.gcount() > 0) {
    text.append(block, static_cast<size_t>(file.gcount()));
    if (text.size() > kMaxFileBytes) {
      return InvalidArgument("--api_keys ", path, " has more than ", kMaxFileBytes, " bytes");
    }
  }
  return text;
}

}  // namespace

absl::StatusOr<std::map<std::string, ApiKey>> ApiKeys::Parse(std::string_view text) {
  std::map<std::string, ApiKey> keys;
  std::istringstream lines{std::string(text)};
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream rest(line.substr(0, line.find('#')));
    std::vector<std::string> words;
    for (std::string word; rest >> word;) words.push_back(std::move(word));
    if (words.empty()) continue;
    if (keys.size() >= kMaxKeys) return InvalidArgument("more than ", kMaxKeys, " keys");
    VL2_RETURN_IF_ERROR(ParseLine(number, words, keys));
  }
  return keys;
}

absl::StatusOr<std::unique_ptr<ApiKeys>> ApiKeys::Open(
    const std::string& path, std::function<void(const std::string&, const char*)> on_limited,
    std::chrono::milliseconds interval) {
  std::unique_ptr<ApiKeys> keys(new ApiKeys(path, std::move(on_limited)));
  VL2_RETURN_IF_ERROR(keys->Load());
  keys->thread_ = std::thread([raw = keys.get(), interval] { raw->Watch(interval); });
  return keys;
}

ApiKeys::~ApiKeys() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    stop_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void ApiKeys::Watch(std::chrono::milliseconds interval) {
  for (;;) {
    {
      MutexLock lock(&mutex_);
      const auto next = Clock::now() + interval;
      while (!stopping_ && Clock::now() < next) stop_.WaitUntil(&mutex_, next);
      if (stopping_) return;
    }
    if (const absl::Status status = Load(); !status.ok()) {
      ++num_failed_reloads_;
      Log(Severity::kError, "the keys of before stay", {{"reason", Message(status)}});
    }
  }
}

absl::Status ApiKeys::Load() {
  VL2_ASSIGN_OR_RETURN(std::string text, ReadText(path_));
  {
    MutexLock lock(&mutex_);
    if (!accounts_.empty() && text == text_) return absl::OkStatus();
  }
  const bool is_first = text_.empty();
  text_ = std::move(text);  // a bad file is told of once
  auto parsed = Parse(text_);
  if (!parsed.ok()) return InvalidArgument("--api_keys ", path_, ": ", Message(parsed.status()));
  if (parsed->empty()) return InvalidArgument("--api_keys ", path_, " has no key");
  const auto num_keys = static_cast<int64_t>(parsed->size());
  MutexLock lock(&mutex_);
  keys_ = *std::move(parsed);
  for (const auto& [digest, key] : keys_) accounts_[key.name];
  if (!is_first) Log(Severity::kInfo, "keys were read again", {{"keys", num_keys}});
  return absl::OkStatus();
}

absl::StatusOr<ApiKey> ApiKeys::Find(std::string_view authorization) const {
  constexpr std::string_view kBearer = "bearer ";
  if (authorization.size() <= kBearer.size() ||
      !absl::EqualsIgnoreCase(absl::string_view(authorization.data(), kBearer.size()),
                              absl::string_view(kBearer.data(), kBearer.size()))) {
    return absl::UnauthenticatedError("the API key is missing: \"Authorization: Bearer KEY\"");
  }
  const std::string digest = HexOf(authorization.substr(kBearer.size()));
  MutexLock lock(&mutex_);
  const auto it = keys_.find(digest);
  if (it == keys_.end()) return absl::UnauthenticatedError("the API key is wrong");
  return it->second;
}

void ApiKeys::Bucket::Fill(int64_t per_min, Clock::time_point now) {
  const auto full = static_cast<double>(per_min);
  const double seconds = std::chrono::duration<double>(now - last).count();
  level = is_new ? full : std::min(full, level + std::max(0.0, seconds) * full / 60);
  last = now;
  is_new = false;
}

absl::Status ApiKeys::Limited(const ApiKey& key, const char* limit, int64_t value,
                              double seconds) const {
  if (on_limited_) on_limited_(key.name, limit);
  absl::Status status = absl::ResourceExhaustedError(
      Cat("the key ", key.name, " has reached its limit ", limit, ", which is ", value));
  const int after = static_cast<int>(std::ceil(std::clamp(seconds, 1.0, kMaxRetryAfter)));
  return WithRetryAfter(WithReason(std::move(status), "rate_limit_exceeded"), after);
}

absl::StatusOr<std::unique_ptr<ApiKeys::Use>> ApiKeys::Begin(std::string_view authorization,
                                                             Clock::time_point now) {
  VL2_ASSIGN_OR_RETURN(ApiKey key, Find(authorization));
  MutexLock lock(&mutex_);
  Account& account = accounts_[key.name];
  if (key.concurrent > 0 && account.num_running >= key.concurrent) {
    return Limited(key, "concurrent", key.concurrent, 1);
  }
  if (key.tokens_per_min > 0) {
    account.tokens.Fill(key.tokens_per_min, now);
    if (account.tokens.level <= 0) {
      const double per_second = static_cast<double>(key.tokens_per_min) / 60;
      return Limited(key, "tokens_per_min", key.tokens_per_min,
                     (1 - account.tokens.level) / per_second);
    }
  }
  if (key.requests_per_min > 0) {
    account.requests.Fill(key.requests_per_min, now);
    if (account.requests.level < 1) {
      const double per_second = static_cast<double>(key.requests_per_min) / 60;
      return Limited(key, "requests_per_min", key.requests_per_min,
                     (1 - account.requests.level) / per_second);
    }
    account.requests.level -= 1;
  }
  ++account.num_running;
  return std::make_unique<Use>(*this, std::move(key));
}

ApiKeys::Use::~Use() {
  MutexLock lock(&keys_.mutex_);
  --keys_.accounts_[key_.name].num_running;
}

void ApiKeys::Use::Charge(int64_t num_tokens) {
  if (key_.tokens_per_min == 0) return;
  MutexLock lock(&keys_.mutex_);
  keys_.accounts_[key_.name].tokens.level -= static_cast<double>(num_tokens);
}

int64_t ApiKeys::num_keys() const {
  MutexLock lock(&mutex_);
  return static_cast<int64_t>(keys_.size());
}

std::string ClientIdOfKey(const ApiKey& key, const std::string& client_id) {
  return Cat(HexOf(Cat("tenant ", key.tenant)).substr(0, 32), "/",
             HexOf(Cat(key.name, " ", client_id)).substr(0, 32));
}

std::string SaltOfTenant(const std::string& tenant, const std::string& salt) {
  return HexOf(Cat(tenant.size(), " ", tenant, salt));
}

}  // namespace vl2::gateway
