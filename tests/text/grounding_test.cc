#include "text/grounding.h"

#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

using Events = std::vector<GroundingEvent>;

// Appends, joining neighbouring texts.
void Append(Events more, Events& events) {
  for (GroundingEvent& event : more) {
    auto* text = std::get_if<std::string>(&event);
    if (text != nullptr && !events.empty() && std::holds_alternative<std::string>(events.back())) {
      std::get<std::string>(events.back()) += *text;
    } else {
      events.push_back(std::move(event));
    }
  }
}

Events Parse(const std::vector<std::string>& pieces) {
  GroundingParser parser;
  Events events;
  for (const std::string& piece : pieces) {
    Events more = parser.Push(piece);
    for (size_t i = 0; i + 1 < more.size(); ++i) {
      EXPECT_FALSE(std::holds_alternative<std::string>(more[i]) &&
                   std::holds_alternative<std::string>(more[i + 1]));
    }
    Append(std::move(more), events);
    EXPECT_LE(parser.held_bytes(), GroundingParser::kMaxGroupBytes);
  }
  Append(parser.Finish(), events);
  EXPECT_EQ(parser.held_bytes(), 0u);
  return events;
}

std::string Source(const Events& events) {
  std::string text;
  for (const GroundingEvent& event : events) {
    text += std::holds_alternative<std::string>(event) ? std::get<std::string>(event)
                                                       : std::get<BoxGroup>(event).source;
  }
  return text;
}

// The group that `text` is, or nothing when it stays text.
std::optional<BoxGroup> OnlyGroup(const std::string& text) {
  const Events events = Parse({text});
  EXPECT_EQ(Source(events), text);
  if (events.size() != 1 || !std::holds_alternative<BoxGroup>(events[0])) return std::nullopt;
  return std::get<BoxGroup>(events[0]);
}

std::string Group(const std::string& boxes, const std::string& label = "a") {
  return Cat("<|ref|>", label, "<|/ref|><|det|>", boxes, "<|/det|>");
}

TEST(Grounding, ReadsGroups) {
  const std::string text = Group("[[580, 270, 999, 900], [0, 0, 0, 0]]", "The giraffe \u4f60");
  const auto group = OnlyGroup(text);
  ASSERT_TRUE(group);
  EXPECT_EQ(group->label, "The giraffe \u4f60");
  EXPECT_EQ(group->boxes, (std::vector<GroundingBox>{{580, 270, 999, 900}, {0, 0, 0, 0}}));
  EXPECT_EQ(group->source, text);
}

TEST(Grounding, TextAndGroupsInOrder) {
  const std::string one = Group("[[1,2,3,4]]");
  const Events events = Parse({"A " + one + one + " and <b>"});
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(std::get<std::string>(events[0]), "A ");
  EXPECT_EQ(std::get<BoxGroup>(events[1]), std::get<BoxGroup>(events[2]));
  EXPECT_EQ(std::get<std::string>(events[3]), " and <b>");
}

TEST(Grounding, WhiteSpaceAndLabels) {
  EXPECT_TRUE(OnlyGroup(Group(" [ [ 1 ,2\n,\t3 , 4 ] , [1,1,1,1] ] ")));
  EXPECT_TRUE(OnlyGroup(Group("[[1,2,3,4]]", "")));
  EXPECT_TRUE(OnlyGroup(Group("[[1,2,3,4]]", "a < b|> <|x|> <|/ref|")));
  EXPECT_TRUE(OnlyGroup(Group("[[1,2,3,4]]", std::string(GroundingParser::kMaxLabelBytes, 'x'))));
}

TEST(Grounding, WhatIsMalformedStaysText) {
  for (const char* boxes : {"[]",
                            "[[]]",
                            "[1,2,3,4]",
                            "[[1,2,3]]",
                            "[[1,2,3,4,5]]",
                            "[[1,2,3,4]",
                            "[[1,2,3,4],]",
                            "[[1,2,3,4]]]",
                            "[[1,2,3,4] [1,2,3,4]]",
                            "[[1,2,3,1000]]",
                            "[[1,2,3,99999999999999]]",
                            "[[-1,2,3,4]]",
                            "[[1.0,2,3,4]]",
                            "[[01,2,3,4]]",
                            "[[1,2,,4]]",
                            "[[1,2,3,4,]]",
                            "[[1 2,3,4]]",
                            "[[5,2,3,4]]",
                            "[[1,5,3,4]]",
                            "[[a,2,3,4]]",
                            "[[__import__('os'),2,3,4]]",
                            "",
                            "[[1,2,3,4]]x",
                            "[[999, 999, 999, 999, 999, 999"}) {
    EXPECT_FALSE(OnlyGroup(Group(boxes))) << boxes;
  }
  for (const char* text :
       {"<|ref|>", "<|ref|>a<|/ref|>", "<|det|>[[1,2,3,4]]<|/det|>", "<|ref|>a<|/ref|> <|det|>",
        "<|ref|>a<|/ref|> <|det|>[[1,2,3,4]]<|/det|>", "<|ref|>a<|det|>[[1,2,3,4]]<|/det|>",
        "<|ref|>a<|grounding|><|/ref|><|det|>[[1,2,3,4]]<|/det|>"}) {
    EXPECT_FALSE(OnlyGroup(text)) << text;
  }
}

TEST(Grounding, Limits) {
  EXPECT_FALSE(
      OnlyGroup(Group("[[1,2,3,4]]", std::string(GroundingParser::kMaxLabelBytes + 1, 'x'))));
  const auto boxes = [](size_t count) {
    std::string list = "[[1,2,3,4]";
    for (size_t i = 1; i < count; ++i) list += ",[1,2,3,4]";
    return Group(list + "]");
  };
  EXPECT_TRUE(OnlyGroup(boxes(GroundingParser::kMaxBoxes)));
  EXPECT_FALSE(OnlyGroup(boxes(GroundingParser::kMaxBoxes + 1)));
  const std::string shell = Group("[[1,2,3,4]]");
  const auto padded = [&](size_t num_bytes) {
    return Group("[[1,2,3,4]" + std::string(num_bytes - shell.size(), ' ') + "]");
  };
  EXPECT_TRUE(OnlyGroup(padded(GroundingParser::kMaxGroupBytes)));
  EXPECT_FALSE(OnlyGroup(padded(GroundingParser::kMaxGroupBytes + 1)));
}

// The tag of a malformed group does not hide a good one behind it.
TEST(Grounding, AGroupMayFollowAMalformedOne) {
  const std::string good = Group("[[1,2,3,4]]");
  for (const char* prefix : {"<|ref|>", "<|ref|>x", "<|ref|>x<|/ref|>", "<|ref|>x<|/ref|><|det|>[[",
                             "<|ref|>x<|/ref|><|det|>[[1,2,3,4]]", "<", "<|re", "<|ref|><|ref|>"}) {
    const Events events = Parse({prefix + good});
    ASSERT_EQ(events.size(), 2u) << prefix;
    EXPECT_EQ(std::get<std::string>(events[0]), prefix);
    EXPECT_EQ(std::get<BoxGroup>(events[1]).source, good);
  }
}

TEST(Grounding, HoldsBackAsLittleAsPossible) {
  GroundingParser parser;
  EXPECT_EQ(parser.Push("hello <"), Events{GroundingEvent("hello ")});
  EXPECT_EQ(parser.Push("|re"), Events{});
  EXPECT_EQ(parser.held_bytes(), 4u);
  EXPECT_EQ(parser.Push("x"), Events{GroundingEvent("<|rex")});
  EXPECT_EQ(parser.Push("<|ref|>a<|/ref|><|det|>[[1,2,3,4]]<|/det|"), Events{});
  const Events events = parser.Push(">");  // as soon as it closes
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(std::get<BoxGroup>(events[0]).label, "a");
  EXPECT_EQ(parser.Push("<|ref|>a<|/ref|>b"), Events{GroundingEvent("<|ref|>a<|/ref|>b")});
  EXPECT_EQ(parser.held_bytes(), 0u);
}

// Pieces of the syntax in random order, cut at random places.
TEST(Grounding, SplitsDoNotMatter) {
  std::mt19937 random(5);
  const std::vector<std::string> pieces = {"<|ref|>",
                                           "<|/ref|>",
                                           "<|det|>",
                                           "<|/det|>",
                                           "<|grounding|>",
                                           "[[",
                                           "]]",
                                           "], [",
                                           "12",
                                           "999",
                                           ", ",
                                           ",",
                                           "[",
                                           "]",
                                           " ",
                                           "a",
                                           "\u4f60",
                                           "<",
                                           "|",
                                           Group("[[1, 2, 3, 4]]"),
                                           "<|ref|>b<|/ref|><|det|>[[",
                                           "1, 2, 3, 4]]<|/det|>"};
  int num_groups = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (size_t i = 0; i < 1 + random() % 12; ++i) text += pieces[random() % pieces.size()];
    std::vector<std::string> cut;
    for (size_t at = 0; at < text.size();) {
      const size_t length = 1 + random() % 9;
      cut.push_back(text.substr(at, length));
      at += length;
    }
    const Events whole = Parse({text});
    ASSERT_EQ(Parse(cut), whole) << text;
    ASSERT_EQ(Source(whole), text);
    for (const GroundingEvent& event : whole) num_groups += event.index() == 1 ? 1 : 0;
  }
  EXPECT_GT(num_groups, 1000);
}

TEST(Grounding, LongAnswersTakeLinearTime) {
  std::string text;
  for (int i = 0; i < 300'000; ++i) text += "<|ref|>x";
  EXPECT_EQ(Parse({text}), Events{GroundingEvent(text)});
}

TEST(Grounding, Pixels) {
  const PixelBox box = ToPixels({0, 333, 999, 500}, 1998, 999);
  EXPECT_DOUBLE_EQ(box.x1, 0.0);
  EXPECT_DOUBLE_EQ(box.y1, 333.0);
  EXPECT_DOUBLE_EQ(box.x2, 1998.0);
  EXPECT_DOUBLE_EQ(box.y2, 500.0);
}

}  // namespace
}  // namespace vl2
