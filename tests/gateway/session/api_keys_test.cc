#include "gateway/session/api_keys.h"

#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/client_name.h"
#include "runtime/base/error_details.h"
#include "runtime/base/sha256.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

std::string Digest(const std::string& key) { return Sha256Hex(key.data(), key.size()); }

class ApiKeysTest : public ::testing::Test {
 protected:
  ApiKeysTest() : path_(testing::TempDir() + "/api_keys_test") {}
  void Write(const std::string& text) {
    std::ofstream(path_ + ".new") << text;
    ASSERT_EQ(std::rename((path_ + ".new").c_str(), path_.c_str()), 0);
  }
  void Open(const std::string& text) {
    Write(text);
    auto keys = ApiKeys::Open(
        path_,
        [this](const std::string& name, const char* limit) {
          limited_.push_back(name + " " + limit);
        },
        std::chrono::milliseconds(5));
    ASSERT_TRUE(keys.ok()) << keys.status();
    keys_ = *std::move(keys);
  }

  const std::string path_;
  std::vector<std::string> limited_;
  std::unique_ptr<ApiKeys> keys_;
  const ApiKeys::Clock::time_point now_ = ApiKeys::Clock::now();
};

TEST_F(ApiKeysTest, FindsAKeyByWhatIsShown) {
  Open("# people\n\n  alice " + Digest("secret") +
       " acme 600 16 - priority=-7 admin # the first\n" + "bob " + Digest("other") +
       " acme - - -\n");
  const auto alice = keys_->Find("Bearer secret");
  ASSERT_TRUE(alice.ok()) << alice.status();
  EXPECT_EQ(alice->name, "alice");
  EXPECT_EQ(alice->tenant, "acme");
  EXPECT_EQ(alice->requests_per_min, 600);
  EXPECT_EQ(alice->concurrent, 16);
  EXPECT_EQ(alice->tokens_per_min, 0);
  EXPECT_TRUE(alice->is_admin);
  EXPECT_EQ(alice->priority, -7);
  EXPECT_EQ(keys_->Find("Bearer other")->priority, 0);
  EXPECT_FALSE(keys_->Find("bearer other")->is_admin) << "the scheme's case does not matter";
  for (const char* shown : {"", "Bearer", "Bearer ", "Bearer wrong", "Basic secret", "secret"}) {
    EXPECT_TRUE(absl::IsUnauthenticated(keys_->Find(shown).status())) << shown;
  }
}

TEST_F(ApiKeysTest, BadLinesAreNamed) {
  const std::string digest = Digest("x");
  const std::pair<std::string, const char*> cases[] = {
      {"a b", "line 1 has 2 words"},
      {"a " + digest + " t 1 1 1 admin priority=1 more", "line 1 has 9 words"},
      {"a " + digest + " t 1 1 1 priority=101", "\"priority=101\" is not priority="},
      {"a " + digest + " t 1 1 1 admin priority=", "\"priority=\" is not priority="},
      {"a " + digest + " t 1 1 1 priority=1x", "\"priority=1x\" is not priority="},
      {"\na/b " + digest + " t - - -", "line 2: name \"a/b\""},
      {"a short t - - -", "sha256 \"short\""},
      {"a " + std::string(64, 'A') + " t - - -", "sha256"},
      {"a " + digest + " t/ - - -", "tenant \"t/\""},
      {"a " + digest + " t 0 - -", "requests_per_min \"0\""},
      {"a " + digest + " t - -1 -", "concurrent \"-1\""},
      {"a " + digest + " t - - 1e3", "tokens_per_min \"1e3\""},
      {"a " + digest + " t - - 9999999999", "tokens_per_min"},
      {"a " + digest + " t - - - root", "\"root\" is not admin"},
      {"a " + digest + " t - - -\na " + Digest("y") + " t - - -", "line 2: name a is there twice"},
      {"a " + digest + " t - - -\nb " + digest + " t - - -", "line 2: the digest of b"}};
  for (const auto& [text, wanted] : cases) {
    EXPECT_THAT(Message(ApiKeys::Parse(text).status()), HasSubstr(wanted)) << text;
  }
  EXPECT_FALSE(ApiKeys::Open(path_ + ".nowhere").ok());
  Write("# nobody\n");
  EXPECT_THAT(Message(ApiKeys::Open(path_).status()), HasSubstr("has no key"));
}

TEST_F(ApiKeysTest, LimitsHoldAndSayWhenToComeBack) {
  Open("r " + Digest("r") + " t 2 - -\n" + "c " + Digest("c") + " t - 1 -\n" + "k " + Digest("k") +
       " t - - 60\n");
  ASSERT_TRUE(keys_->Begin("Bearer r", now_).ok());
  ASSERT_TRUE(keys_->Begin("Bearer r", now_).ok());
  const absl::Status requests = keys_->Begin("Bearer r", now_).status();
  EXPECT_TRUE(absl::IsResourceExhausted(requests));
  EXPECT_THAT(Message(requests), HasSubstr("limit requests_per_min, which is 2"));
  EXPECT_EQ(RetryAfterOf(requests), 30);
  EXPECT_TRUE(keys_->Begin("Bearer r", now_ + seconds(31)).ok());
  EXPECT_FALSE(keys_->Begin("Bearer r", now_ + seconds(31)).ok());

  {
    const auto running = keys_->Begin("Bearer c", now_);
    EXPECT_THAT(Message(keys_->Begin("Bearer c", now_).status()), HasSubstr("limit concurrent"));
  }
  EXPECT_TRUE(keys_->Begin("Bearer c", now_).ok()) << "the other one has ended";

  (*keys_->Begin("Bearer k", now_))->Charge(70);
  const absl::Status tokens = keys_->Begin("Bearer k", now_).status();
  EXPECT_THAT(Message(tokens), HasSubstr("limit tokens_per_min, which is 60"));
  EXPECT_EQ(RetryAfterOf(tokens), 11);
  EXPECT_TRUE(keys_->Begin("Bearer k", now_ + seconds(12)).ok());
  EXPECT_EQ(limited_, (std::vector<std::string>{"r requests_per_min", "r requests_per_min",
                                                "c concurrent", "k tokens_per_min"}));
  EXPECT_EQ(RetryAfterOf(absl::UnavailableError("no replica")), 1);
}

TEST_F(ApiKeysTest, AFileThatChangesIsReadAgain) {
  Open("a " + Digest("a") + " t - 1 -\n");
  auto running = keys_->Begin("Bearer a", now_);
  ASSERT_TRUE(running.ok());
  Write("a " + Digest("new a") + " t - 1 -\n" + "b " + Digest("b") + " t - - -\n");
  while (!keys_->Find("Bearer b").ok()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_FALSE(keys_->Find("Bearer a").ok());
  EXPECT_FALSE(keys_->Begin("Bearer new a", now_).ok()) << "what runs still counts";
  running->reset();
  EXPECT_TRUE(keys_->Begin("Bearer new a", now_).ok());
  Write("nonsense\n");
  while (keys_->num_failed_reloads() == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(keys_->Find("Bearer b").ok()) << "the keys of before stay";
  EXPECT_EQ(keys_->num_keys(), 2);
}

TEST(TenantTest, NamesTellTenantsApart) {
  const ApiKey a = {.name = "k", .tenant = "a"}, b = {.name = "k", .tenant = "b"};
  const ApiKey other = {.name = "l", .tenant = "a"};
  EXPECT_NE(TenantOf(ClientIdOfKey(a, "x")), TenantOf(ClientIdOfKey(b, "x")));
  EXPECT_EQ(TenantOf(ClientIdOfKey(a, "x")), TenantOf(ClientIdOfKey(other, "y")));
  EXPECT_NE(ClientIdOfKey(a, "x"), ClientIdOfKey(a, "y"));
  EXPECT_NE(ClientIdOfKey(a, "x"), ClientIdOfKey(other, "x"));
  EXPECT_LE(ClientIdOfKey(a, std::string(500, 'x')).size(), 128u);
  EXPECT_NE(SaltOfTenant("a", ""), SaltOfTenant("b", ""));
  EXPECT_NE(SaltOfTenant("a", "x"), SaltOfTenant("a", ""));
  EXPECT_NE(SaltOfTenant("a", "bx"), SaltOfTenant("ab", "x"));
  EXPECT_EQ(SaltOfTenant("a", "x"), SaltOfTenant("a", "x"));
}

}  // namespace
}  // namespace vl2::gateway
