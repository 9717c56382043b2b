#include "runtime/rpc/caller_rule.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class CallerRuleTest : public ::testing::Test {
 protected:
  bool Counts(int calls) const {
    const std::string sample = "vl2_language_callers_refused_total{call=\"Generate\"} ";
    return metrics_.Text().find(sample + std::to_string(calls) + "\n") != std::string::npos;
  }

  Metrics metrics_;
  const CallerRule rule_{metrics_, "language", "Generate", "vl2-gateway", /*is_on=*/true};
};

TEST_F(CallerRuleTest, OneOfTheNamesSuffices) {
  EXPECT_TRUE(rule_.CheckNames({"vl2-gateway"}).ok());
  EXPECT_TRUE(rule_.CheckNames({"gateway.vl2serve.svc", "vl2-gateway"}).ok());
  EXPECT_TRUE(Counts(0)) << metrics_.Text();
}

TEST_F(CallerRuleTest, OthersAreToldWhatTheyShowedAndWhatIsNeeded) {
  const absl::Status status = rule_.CheckNames({"vl2-vision", "other"});
  EXPECT_TRUE(absl::IsPermissionDenied(status));
  EXPECT_EQ(Message(status),
            "Generate needs the certificate of vl2-gateway, the caller has shown that of "
            "vl2-vision, other");
  EXPECT_TRUE(Counts(1)) << metrics_.Text();
}

TEST_F(CallerRuleTest, ANameMustBeEqual) {
  for (const char* name : {"", "vl2-gateway2", "VL2-GATEWAY", "vl2-gateway.example.org", "*",
                           "*.vl2-gateway", "vl2-gateway ", "vl2"}) {
    EXPECT_TRUE(absl::IsPermissionDenied(rule_.CheckNames({name}))) << name;
  }
  EXPECT_TRUE(absl::IsPermissionDenied(rule_.CheckNames({std::string("vl2-gateway\0x", 13)})));
}

TEST_F(CallerRuleTest, NoNameIsNoneThatFits) {
  EXPECT_THAT(Message(rule_.CheckNames({})), HasSubstr("has shown none"));
}

TEST_F(CallerRuleTest, LongNamesAreNotRepeatedWhole) {
  const std::string text = Message(rule_.CheckNames({std::string(5000, 'x')}));
  EXPECT_LT(text.size(), 300u);
  EXPECT_THAT(text, HasSubstr("5000 bytes"));
}

TEST_F(CallerRuleTest, WithoutTlsEverybodyMayCall) {
  const CallerRule off(metrics_, "vision", "Encode", "vl2-gateway", /*is_on=*/false);
  EXPECT_TRUE(off.CheckNames({}).ok());
  EXPECT_THAT(metrics_.Text(), HasSubstr("vl2_vision_callers_refused_total{call=\"Encode\"} 0\n"));
  EXPECT_THAT(metrics_.Text(), Not(HasSubstr("refused_total{call=\"Encode\"} 1")));
}

}  // namespace
}  // namespace vl2
