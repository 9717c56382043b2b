#include "client/cluster_text.h"

#include "client/event_json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/json.h"

namespace vl2::client {
namespace {

v1::ClusterInfo Cluster() {
  v1::ClusterInfo cluster;
  cluster.set_ready(true);
  cluster.set_model_name("tiny");
  cluster.set_model_id("abc");
  cluster.set_max_context_tokens(4096);
  (*cluster.mutable_limits())["max_message_bytes"] = 64 << 20;
  v1::ReplicaInfo& language = *cluster.add_language();
  language.set_address("10.0.0.1:50061");
  language.set_healthy(true);
  language.set_outstanding_calls(2);
  language.mutable_info()->set_weight_dtype("bf16");
  language.mutable_info()->set_device("cpu AVX2");
  (*language.mutable_info()->mutable_load())["waiting_sequences"] = 4;
  (*language.mutable_info()->mutable_load())["running_sequences"] = 3;
  (*language.mutable_info()->mutable_limits())["cache_tokens"] = 8192;
  v1::ReplicaInfo& vision = *cluster.add_vision();
  vision.set_address("10.0.0.2:50062");
  vision.set_failure("not\nthere \x1b[2J");
  return cluster;
}

TEST(ClusterText, ShowsReplicasAndTheirLoad) {
  EXPECT_EQ(ClusterText("127.0.0.1:50060", Cluster()),
            "gateway 127.0.0.1:50060: ready\n"
            "  limits  max message 64 MiB\n"
            "model tiny\n"
            "  id      abc\n"
            "  context 4096 tokens\n"
            "language services: 1\n"
            "  10.0.0.1:50061  answers  (bf16 weights, cpu AVX2)\n"
            "    load    calls from this gateway 2, running sequences 3, waiting sequences 4\n"
            "    limits  cache tokens 8192\n"
            "vision services: 1\n"
            "  10.0.0.2:50062  does not answer: not there \xef\xbf\xbd[2J\n");
}

TEST(ClusterText, SaysWhyItIsNotReady) {
  v1::ClusterInfo cluster;
  cluster.set_not_ready_reason("different models");
  EXPECT_THAT(ClusterText("a:1", cluster),
              ::testing::StartsWith("gateway a:1: not ready: different models\n"));
}

TEST(ClusterJson, HasTheSame) {
  const Json json = *ParseJson(ClusterJson(Cluster()));
  EXPECT_EQ(json["ready"], true);
  EXPECT_EQ(json["limits"]["max_message_bytes"], 64 << 20);
  EXPECT_EQ(json["language"][0]["load"]["running_sequences"], 3);
  EXPECT_EQ(json["language"][0]["outstanding_calls"], 2);
  EXPECT_EQ(json["vision"][0]["healthy"], false);
  EXPECT_EQ(json["vision"][0]["failure"], "not\nthere \x1b[2J");
}

}  // namespace
}  // namespace vl2::client
