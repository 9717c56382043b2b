// Tokenizers for tests.
#pragma once

#include <utility>

#include "gtest/gtest.h"
#include "tests/text/test_files.h"

namespace vl2 {

inline Tokenizer BuildTokenizer(const TestFiles& files) {
  auto tokenizer = files.Build();
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

}  // namespace vl2
