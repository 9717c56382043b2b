#include "runtime/base/error_details.h"

#include <fstream>
#include <sstream>
#include <string>

#include "gtest/gtest.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

TEST(ErrorDetails, ACodeAloneHasAReasonOfTheList) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "x");
    EXPECT_TRUE(IsErrorReason(ReasonOf(status))) << status;
    EXPECT_EQ(ParamOf(status), "");
  }
  EXPECT_EQ(RetryAfterOf(absl::UnavailableError("x")), 1);
  EXPECT_EQ(RetryAfterOf(absl::ResourceExhaustedError("x")), 1);
  EXPECT_EQ(RetryAfterOf(absl::InvalidArgumentError("x")), 0);
}

TEST(ErrorDetails, ComeBackAndOutliveAnnotation) {
  absl::Status status = WithParam(absl::ResourceExhaustedError("x"), "messages");
  status = WithReason(std::move(status), "made_room");
  status = Annotate(WithRetryAfter(std::move(status), 17), "language");
  EXPECT_EQ(Message(status), "language: x");
  EXPECT_EQ(ParamOf(status), "messages");
  EXPECT_EQ(ReasonOf(status), "made_room");
  EXPECT_EQ(RetryAfterOf(status), 17);
}

TEST(ErrorDetails, ThePageHasAllReasonsInTheirOrder) {
  std::ifstream page(VL2_TEST_DATA "/../docs/errors.md");
  std::string told;
  for (std::string line; std::getline(page, line);) {
    if (!line.starts_with("| ") || line.starts_with("| reason")) continue;
    told += line.substr(2, line.find(" |", 2) - 2) + ":" +
            line.substr(line.rfind("| ", line.size() - 3) + 1);
    told += "\n";
  }
  std::string expected;
  for (const ErrorReason& reason : ErrorReasons()) {
    expected += Cat(reason.name, ": ", reason.meaning, " |\n");
  }
  EXPECT_EQ(told, expected);
}

}  // namespace
}  // namespace vl2
