// A tokenizer for random checkpoints: the published format and special tokens, one token for each
// byte, and made-up words for the rest of the vocabulary, so that any id a random model draws shows
// as text.
#pragma once

#include <cstdint>

#include "runtime/base/json.h"

namespace vl2 {

struct SyntheticTokenizer {
  Json tokenizer;         // tokenizer.json
  Json tokenizer_config;  // tokenizer_config.json
};

// REQUIRES: vocab_size >= kMinSyntheticVocab.
SyntheticTokenizer MakeSyntheticTokenizer(int64_t vocab_size);

inline constexpr int64_t kMinSyntheticVocab = 256 + 16;

}  // namespace vl2
