#include "runtime/trace/span.h"

#include <chrono>
#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "runtime/trace/span_queue.h"
#include "runtime/trace/tracer.h"

namespace vl2 {
namespace {

using std::chrono::milliseconds;

TEST(SpanQueue, DropsWhatItHasNoRoomFor) {
  SpanQueue queue(3);
  for (int i = 0; i < 5; ++i) queue.Push(std::make_unique<SpanRecord>());
  EXPECT_EQ(queue.num_waiting(), 3);
  EXPECT_EQ(queue.num_dropped(), 2);
  EXPECT_EQ(queue.Pop(2, milliseconds(0)).size(), 2u);
  EXPECT_EQ(queue.Pop(2, milliseconds(0)).size(), 1u);
  EXPECT_TRUE(queue.Pop(2, milliseconds(0)).empty());
  queue.Push(std::make_unique<SpanRecord>());
  queue.Close();
  queue.Push(std::make_unique<SpanRecord>());
  EXPECT_EQ(queue.num_dropped(), 3);
  EXPECT_EQ(queue.Pop(2, std::chrono::hours(1)).size(), 1u);
  EXPECT_TRUE(queue.Pop(2, std::chrono::hours(1)).empty());
}

TEST(Span, NobodyRecordsWhatHasNoTracer) {
  const TraceContext context = {
      .trace_id = MakeTraceId(), .span_id = MakeSpanId(), .sampled = true};
  Span span = TracePoint(context).Begin("work", SpanKind::kInternal);
  span.Set("key", "value");
  span.AddEvent("event");
  EXPECT_FALSE(span.recording());
  EXPECT_EQ(span.context(), context);
  EXPECT_EQ(span.point().Begin("more", SpanKind::kClient).context(), context);
  EXPECT_FALSE(Span().context().valid());
}

TEST(Tracer, PassesTracesOnWhenItIsOff) {
  const auto tracer = Tracer::Make({});
  ASSERT_TRUE(tracer.ok());
  const TraceContext context = {
      .trace_id = MakeTraceId(), .span_id = MakeSpanId(), .sampled = true};
  EXPECT_FALSE((*tracer)->Join(context).recording());
  EXPECT_EQ((*tracer)->Join(context).context(), context);
  EXPECT_FALSE((*tracer)->Join({}).context().valid());
}

}  // namespace
}  // namespace vl2
