// Any token ids, known or not, one at a time. Input: pairs of bytes, each an id. What comes out is
// whole characters, and together what Decode gives of all ids.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/check.h"
#include "tests/text/test_files.h"
#include "text/incremental_detokenizer.h"
#include "text/utf8.h"

namespace vl2 {
namespace {

const Tokenizer& FuzzTokenizer() {
  static const Tokenizer tokenizer =
      MakeTestFiles(
          {{"a", "b"}, {" ", " "}, {"\xe4", "\xbd"}, {"\xe4\xbd", "\xa0"}, {"\xf0", "\x9f"}})
          .Build()
          .value();
  return tokenizer;
}

void CheckIds(const std::vector<int32_t>& ids, SkipSpecial skip) {
  IncrementalDetokenizer detokenizer(&FuzzTokenizer(), skip);
  std::string text;
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string released = detokenizer.Push(ids[i]);
    VL2_CHECK(IsValidUtf8(released));
    text += released;
    VL2_CHECK(detokenizer.num_text_bytes() == static_cast<int64_t>(text.size()));
    // With nothing open, the text so far is that of the ids so far.
    if (detokenizer.at_boundary()) {
      VL2_CHECK(text == FuzzTokenizer().Decode({ids.data(), i + 1}, skip));
    }
  }
  text += detokenizer.Finish();
  VL2_CHECK(detokenizer.at_boundary());
  VL2_CHECK(text == FuzzTokenizer().Decode(ids, skip));
}

}  // namespace
}  // namespace vl2

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<int32_t> ids;
  // Around the vocabulary: some ids below 0, some beyond its end.
  for (size_t i = 0; i + 1 < size && ids.size() < 2048; i += 2) {
    ids.push_back((data[i] | data[i + 1] << 8) % (vl2::FuzzTokenizer().id_limit() + 20) - 10);
  }
  for (const vl2::SkipSpecial skip :
       {vl2::SkipSpecial::kNone, vl2::SkipSpecial::kAll, vl2::SkipSpecial::kAllButGrounding}) {
    vl2::CheckIds(ids, skip);
  }
  return 0;
}
