#include "runtime/trace/otlp_json.h"

#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "runtime/base/json.h"

namespace vl2 {
namespace {

constexpr char kTrace[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const SpanSource kSource = {.service_name = "vl2-test", .instance_id = "one", .version = "1.2"};

std::unique_ptr<SpanRecord> MakeRecord() {
  auto record = std::make_unique<SpanRecord>();
  record->context = ParseTraceparent(kTrace);
  record->name = "encode row";
  record->begin_unix_nanos = 1700000000000000001;
  record->end_unix_nanos = 1700000000000000002;
  return record;
}

Json SpanOf(std::unique_ptr<SpanRecord> record) {
  SpanQueue::Batch batch;
  batch.push_back(std::move(record));
  const auto json = ParseJson(OtlpJson(kSource, batch));
  EXPECT_TRUE(json.ok()) << json.status();
  return (*json)["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
}

TEST(OtlpJson, IsTheFormOfTheProtocol) {
  auto record = MakeRecord();
  record->kind = SpanKind::kServer;
  record->parent = {1, 2, 3, 4, 5, 6, 7, 8};
  record->parent_is_remote = true;
  record->attributes = {
      {"number", int64_t{1} << 60}, {"real", 0.5}, {"truth", true}, {"text", "a"}};
  record->events.push_back({1700000000000000001, "first_token", {{"sample", int64_t{0}}}});
  record->links.push_back(record->context);
  record->status = absl::StatusCode::kUnavailable;
  SpanQueue::Batch batch;
  batch.push_back(std::move(record));
  const auto json = ParseJson(OtlpJson(kSource, batch));
  ASSERT_TRUE(json.ok());
  const auto expected = ParseJson(R"({"resourceSpans": [{
    "resource": {"attributes": [
      {"key": "service.namespace", "value": {"stringValue": "vl2serve"}},
      {"key": "service.name", "value": {"stringValue": "vl2-test"}},
      {"key": "service.instance.id", "value": {"stringValue": "one"}},
      {"key": "service.version", "value": {"stringValue": "1.2"}}]},
    "scopeSpans": [{"scope": {"name": "vl2serve", "version": "1.2"}, "spans": [{
      "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331",
      "parentSpanId": "0102030405060708", "flags": 769, "name": "encode row", "kind": 2,
      "startTimeUnixNano": "1700000000000000001", "endTimeUnixNano": "1700000000000000002",
      "attributes": [
        {"key": "number", "value": {"intValue": "1152921504606846976"}},
        {"key": "real", "value": {"doubleValue": 0.5}},
        {"key": "truth", "value": {"boolValue": true}},
        {"key": "text", "value": {"stringValue": "a"}}],
      "events": [{"timeUnixNano": "1700000000000000001", "name": "first_token",
                  "attributes": [{"key": "sample", "value": {"intValue": "0"}}]}],
      "links": [{"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331",
                 "flags": 257}],
      "status": {"code": 2}}]}]}]})");
  ASSERT_TRUE(expected.ok()) << expected.status();
  EXPECT_EQ(*json, *expected);
}

TEST(OtlpJson, ARootHasNoParent) {
  const Json span = SpanOf(MakeRecord());
  EXPECT_FALSE(span.contains("parentSpanId"));
  EXPECT_FALSE(span.contains("status"));
  EXPECT_FALSE(span.contains("events"));
}

TEST(OtlpJson, IsValidWhateverTextsHold) {
  auto record = MakeRecord();
  record->name = "bad \xff\xfe \" \\ \n \x01";
  record->attributes = {{"\x80", std::string("\0\xc0", 2)},
                        {"nan", std::nan("")},
                        {"inf", -std::numeric_limits<double>::infinity()}};
  const Json span = SpanOf(std::move(record));
  EXPECT_EQ(span["attributes"][1]["value"]["doubleValue"], "NaN");
  EXPECT_EQ(span["attributes"][2]["value"]["doubleValue"], "-Infinity");
}

TEST(OtlpJson, ReadsWhatWasRejected) {
  EXPECT_EQ(RejectedSpans(R"({"partialSuccess":{"rejectedSpans":"3"}})"), 3);
  EXPECT_EQ(RejectedSpans(R"({"partialSuccess":{"rejectedSpans":4}})"), 4);
  for (const char* text : {"", "{}", "[]", "{\"partialSuccess\":1}", "{\"partialSuccess\":{}}",
                           "{\"partialSuccess\":{\"rejectedSpans\":[]}}", "no JSON"}) {
    EXPECT_EQ(RejectedSpans(text), 0) << text;
  }
}

}  // namespace
}  // namespace vl2
