#include "runtime/trace/trace_context.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace vl2 {
namespace {

constexpr char kHeader[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

std::string Replaced(size_t at, std::string_view text) {
  std::string header = kHeader;
  return header.replace(at, text.size(), text);
}

TEST(Traceparent, ReadsTheStandardsExample) {
  const TraceContext context = ParseTraceparent(kHeader);
  ASSERT_TRUE(context.valid());
  EXPECT_TRUE(context.sampled);
  EXPECT_EQ(ToHex(context.trace_id), "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(ToHex(context.span_id), "b7ad6b7169203331");
  EXPECT_EQ(FormatTraceparent(context), kHeader);
}

TEST(Traceparent, OfTheFlagsOnlySampledCounts) {
  EXPECT_FALSE(ParseTraceparent(Replaced(53, "00")).sampled);
  EXPECT_TRUE(ParseTraceparent(Replaced(53, "ff")).sampled);
  EXPECT_TRUE(ParseTraceparent(Replaced(53, "fe")).valid());
  EXPECT_FALSE(ParseTraceparent(Replaced(53, "fe")).sampled);
}

TEST(Traceparent, ALaterVersionMaySayMore) {
  EXPECT_TRUE(ParseTraceparent(Replaced(0, "cc")).valid());
  EXPECT_TRUE(ParseTraceparent(Replaced(0, "cc") + "-what-the-future-is-like").valid());
  EXPECT_FALSE(ParseTraceparent(Replaced(0, "cc") + ".what").valid());
  EXPECT_FALSE(ParseTraceparent(Replaced(0, "ff")).valid());
  EXPECT_FALSE(ParseTraceparent(std::string(kHeader) + "-more").valid());
}

TEST(Traceparent, AnythingElseIsNone) {
  const std::string whole = kHeader;
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(ParseTraceparent(whole.substr(0, length)).valid()) << length;
  }
  // One wrong character anywhere: a dash that is none, a digit that is none.
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const char* wrong : {"G", "A", " ", "-", "_", "\xff"}) {
      if (whole[at] == wrong[0]) continue;
      EXPECT_FALSE(ParseTraceparent(Replaced(at, wrong)).valid()) << at << wrong;
    }
    EXPECT_FALSE(ParseTraceparent(Replaced(at, std::string_view("\0", 1))).valid()) << at;
  }
  EXPECT_FALSE(ParseTraceparent(Replaced(3, std::string(32, '0'))).valid());
  EXPECT_FALSE(ParseTraceparent(Replaced(36, std::string(16, '0'))).valid());
  EXPECT_FALSE(ParseTraceparent(whole + "," + whole).valid());
  EXPECT_FALSE(ParseTraceparent(" " + whole).valid());
  EXPECT_FALSE(ParseTraceparent(std::string(1 << 20, '0')).valid());
}

TEST(TraceIds, AreRandomAndNeverZero) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    seen.insert(ToHex(MakeTraceId()));
    seen.insert(ToHex(MakeSpanId()));
  }
  EXPECT_EQ(seen.size(), 2000u);
}

TEST(TraceRatio, CountsByTheId) {
  int sampled = 0;
  constexpr int kNumTraces = 20000;
  for (int i = 0; i < kNumTraces; ++i) {
    const TraceId id = MakeTraceId();
    EXPECT_FALSE(IsInRatio(id, 0));
    EXPECT_TRUE(IsInRatio(id, 1));
    EXPECT_LE(IsInRatio(id, 0.1), IsInRatio(id, 0.2));
    sampled += IsInRatio(id, 0.25);
  }
  // Six standard deviations.
  EXPECT_NEAR(sampled, kNumTraces / 4, 370);
}

}  // namespace
}  // namespace vl2
