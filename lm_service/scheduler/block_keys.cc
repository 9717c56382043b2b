#include <algorithm>

#include "lm_service/scheduler/sequence.h"
#include "runtime/ops/paged_cache.h"

namespace vl2 {
namespace {

void AddInt(Sha256& sha, int64_t value) { sha.Update(&value, sizeof(value)); }

// Which picture and which of its embeddings each position holds; -1: a token.
struct PositionSource {
  int image = -1;
  int64_t offset = 0;
};

}  // namespace

std::vector<BlockKey> MakeBlockKeys(const GenerateRequest& request,
                                    const std::vector<int32_t>& prompt_ids) {
  std::vector<PositionSource> sources;
  std::vector<const ImagePart*> images;
  for (const PromptPart& part : request.parts) {
    if (const auto* ids = std::get_if<std::vector<int32_t>>(&part)) {
      sources.resize(sources.size() + ids->size());
      continue;
    }
    const ImagePart& image = std::get<ImagePart>(part);
    images.push_back(&image);
    for (int64_t i = 0; i < image.num_embeddings; ++i) {
      sources.push_back({static_cast<int>(images.size()) - 1, i});
    }
  }
  std::vector<BlockKey> keys;
  Sha256 first;
  first.Update("vl2 prefix\n");
  AddInt(first, static_cast<int64_t>(request.cache_salt.size()));
  first.Update(request.cache_salt);
  BlockKey parent = first.Finish();
  for (size_t begin = 0; begin + kBlockTokens <= prompt_ids.size(); begin += kBlockTokens) {
    Sha256 sha;
    sha.Update(parent.data(), parent.size());
    for (size_t i = begin; i < begin + kBlockTokens; ++i) {
      if (sources[i].image < 0) {
        AddInt(sha, prompt_ids[i]);
        continue;
      }
      const ImagePart& image = *images[static_cast<size_t>(sources[i].image)];
      // A picture without a key is like no other, in any block after it either.
      if (image.content_key.empty()) return keys;
      AddInt(sha, -1);
      AddInt(sha, sources[i].offset);
      AddInt(sha, static_cast<int64_t>(image.content_key.size()));
      sha.Update(image.content_key);
    }
    parent = sha.Finish();
    keys.push_back(parent);
  }
  return keys;
}

}  // namespace vl2
