#include "runtime/rpc/grpc_status.h"

#include <string>

#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "runtime/base/error_details.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

google::rpc::Status DetailsOf(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

template <typename T>
bool Find(const google::rpc::Status& details, T& found) {
  for (const auto& detail : details.details()) {
    if (detail.UnpackTo(&found)) return true;
  }
  return false;
}

TEST(GrpcStatus, TellsReasonFieldAndDelay) {
  absl::Status status = WithParam(absl::ResourceExhaustedError("full"), "messages");
  status = WithRetryAfter(WithReason(std::move(status), "made_room"), 12);
  const grpc::Status grpc = StatusToGrpc(status);
  const google::rpc::Status details = DetailsOf(grpc);
  EXPECT_EQ(details.code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(details.message(), "full");
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(Find(details, info));
  EXPECT_EQ(info.reason(), "MADE_ROOM");
  EXPECT_EQ(info.domain(), "vl2serve");
  google::rpc::BadRequest request;
  ASSERT_TRUE(Find(details, request));
  EXPECT_EQ(request.field_violations(0).field(), "messages");
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(Find(details, retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 12);

  const absl::Status back = GrpcToStatus(grpc);
  EXPECT_EQ(ReasonOf(back), "made_room");
  EXPECT_EQ(ParamOf(back), "messages");
  EXPECT_EQ(RetryAfterOf(back), 12);
}

TEST(GrpcStatus, SaysNothingThatIsNotSo) {
  const google::rpc::Status details = DetailsOf(StatusToGrpc(absl::InvalidArgumentError("x")));
  google::rpc::RetryInfo retry;
  EXPECT_FALSE(Find(details, retry)) << "it would fail again";
  google::rpc::BadRequest request;
  EXPECT_FALSE(Find(details, request));
  EXPECT_EQ(StatusToGrpc(absl::OkStatus()).error_details(), "");
}

TEST(GrpcStatus, BelievesOnlyWhatCanBe) {
  const auto back = [](const std::string& details) {
    return GrpcToStatus(grpc::Status(grpc::StatusCode::UNAVAILABLE, "x", details));
  };
  EXPECT_EQ(ReasonOf(back("\xff\xff no message")), "unavailable");
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  info.set_domain("vl2serve");
  info.set_reason("SOMETHING_ELSE");
  details.add_details()->PackFrom(info);
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(int64_t{1} << 40);
  details.add_details()->PackFrom(retry);
  EXPECT_EQ(ReasonOf(back(details.SerializeAsString())), "unavailable");
  EXPECT_EQ(RetryAfterOf(back(details.SerializeAsString())), 1);
  info.set_domain("elsewhere.example");
  info.set_reason("MADE_ROOM");
  details.clear_details();
  details.add_details()->PackFrom(info);
  EXPECT_EQ(ReasonOf(back(details.SerializeAsString())), "unavailable");
}

TEST(GrpcStatus, TrailersStayBelowTheirLimit) {
  // Two bytes each, which travel as six; and details as base64.
  std::string text;
  while (text.size() < 10'000) text += "\xc3\xa9";
  const grpc::Status status = StatusToGrpc(WithParam(absl::InvalidArgumentError(text), text));
  const size_t on_the_wire =
      status.error_message().size() * 3 + status.error_details().size() * 4 / 3;
  EXPECT_LT(on_the_wire, size_t{7900});
}

}  // namespace
}  // namespace vl2
