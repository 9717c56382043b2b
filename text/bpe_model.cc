#include "text/bpe_model.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/status.h"
#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace vl2 {
namespace {

// Up to this many bytes a scan over all neighbours is faster than a heap.
constexpr size_t kMaxShortWord = 64;

uint64_t PairKey(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

// Bytes that occur in valid UTF-8.
bool OccursInUtf8(int byte) { return byte != 0xc0 && byte != 0xc1 && byte <= 0xf4; }

absl::Status RefuseUnsupported(const JsonFields& fields) {
  VL2_ASSIGN_OR_RETURN(const std::string type, fields.String("type", "BPE"));
  if (type != "BPE") return InvalidArgument("model.type: ", type, " is not supported, only BPE is");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    VL2_ASSIGN_OR_RETURN(const std::string value, fields.String(key, ""));
    if (!value.empty()) return InvalidArgument("model.", key, ": \"", value, "\" is not supported");
  }
  VL2_ASSIGN_OR_RETURN(const bool byte_fallback, fields.Bool("byte_fallback", false));
  if (byte_fallback) return InvalidArgument("model.byte_fallback: true is not supported");
  VL2_ASSIGN_OR_RETURN(const double dropout, fields.Double("dropout", 0.0, 0.0, 1.0));
  if (dropout != 0.0) return InvalidArgument("model.dropout: ", dropout, " is not supported");
  return absl::OkStatus();
}

// The two parts of one entry of "merges": "a b" or ["a", "b"].
absl::StatusOr<std::pair<std::string_view, std::string_view>> MergeParts(const Json& entry,
                                                                         size_t index) {
  if (entry.is_string()) {
    const std::string_view line = entry.get_ref<const std::string&>();
    const size_t space = line.find(' ');
    if (space != std::string_view::npos && line.find(' ', space + 1) == std::string_view::npos) {
      return std::pair(line.substr(0, space), line.substr(space + 1));
    }
  } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() &&
             entry[1].is_string()) {
    return std::pair(std::string_view(entry[0].get_ref<const std::string&>()),
                     std::string_view(entry[1].get_ref<const std::string&>()));
  }
  return InvalidArgument("model.merges[", index, "]: expected \"left right\" or [left, right]");
}

}  // namespace

void BpeModel::MergeTable::Reserve(size_t num_merges) {
  size_t num_slots = 2;
  shift_ = 63;
  while (num_slots < 2 * num_merges) {
    num_slots *= 2;
    --shift_;
  }
  slots_.assign(num_slots, Slot());
}

void BpeModel::MergeTable::Put(int32_t left, int32_t right, Merge merge) {
  const uint64_t key = PairKey(left, right);
  size_t i = Index(key);
  while (slots_[i].key != key && slots_[i].key != UINT64_MAX) i = (i + 1) & (slots_.size() - 1);
  slots_[i] = {key, merge};
}

BpeModel::Merge BpeModel::MergeTable::Find(int32_t left, int32_t right) const {
  const uint64_t key = PairKey(left, right);
  size_t i = Index(key);
  while (slots_[i].key != key) {
    if (slots_[i].key == UINT64_MAX) return {kNoRank, -1};
    i = (i + 1) & (slots_.size() - 1);
  }
  return slots_[i].merge;
}

absl::StatusOr<BpeModel> BpeModel::FromJson(const Json& json, const StringSet& reserved) {
  const JsonFields fields(json, "model");
  VL2_RETURN_IF_ERROR(RefuseUnsupported(fields));
  const Json* vocabulary = fields.Find("vocab");
  const Json* merges = fields.Find("merges");
  if (vocabulary == nullptr || !vocabulary->is_object()) {
    return InvalidArgument("model.vocab: expected an object of token to id");
  }
  if (merges == nullptr || !merges->is_array()) {
    return InvalidArgument("model.merges: expected a list");
  }
  BpeModel model;
  VL2_RETURN_IF_ERROR(model.ReadVocabulary(*vocabulary));
  VL2_RETURN_IF_ERROR(model.ReadMerges(*merges, reserved));
  VL2_ASSIGN_OR_RETURN(const bool ignore_merges, fields.Bool("ignore_merges", false));
  model.FindWholeWords(ignore_merges, reserved);
  return model;
}

absl::Status BpeModel::ReadVocabulary(const Json& json) {
  if (json.size() > kMaxVocabulary) {
    return InvalidArgument("model.vocab: ", json.size(), " tokens, the limit is ", kMaxVocabulary);
  }
  tokens_.reserve(json.size());
  std::unordered_set<int32_t> seen;
  seen.reserve(json.size());
  for (const auto& [content, value] : json.items()) {
    // A negative number is far above the limit as an unsigned one.
    if (!value.is_number_integer() || value.get<uint64_t>() > uint64_t{kMaxId}) {
      return InvalidArgument("model.vocab: the id of \"", content, "\" is not in [0, ", kMaxId,
                             "]");
    }
    if (content.empty() || content.size() > kMaxTokenBytes) {
      return InvalidArgument("model.vocab: a token of ", content.size(), " bytes; 1 to ",
                             kMaxTokenBytes, " are allowed");
    }
    const auto id = value.get<int32_t>();
    if (!seen.insert(id).second) {
      return InvalidArgument("model.vocab: id ", id, " is used twice");
    }
    tokens_.push_back({id, content});
  }
  return absl::OkStatus();
}

absl::Status BpeModel::ReadMerges(const Json& json, const StringSet& reserved) {
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(tokens_.size());
  for (const Token& token : tokens_) ids.emplace(token.content, token.id);

  for (int byte = 0; byte < 256; ++byte) {
    std::string character;
    AppendUtf8(ByteAlphabet()[static_cast<size_t>(byte)], character);
    const auto it = ids.find(character);
    if (it == ids.end() && OccursInUtf8(byte)) {
      return InvalidArgument("model.vocab: no token for byte ", byte, " (\"", character, "\")");
    }
    byte_ids_[static_cast<size_t>(byte)] = it == ids.end() ? -1 : it->second;
  }

  if (json.size() > kMaxVocabulary) {
    return InvalidArgument("model.merges: ", json.size(), " entries, the limit is ",
                           kMaxVocabulary);
  }
  merges_.Reserve(json.size());
  std::string joined;
  for (size_t i = 0; i < json.size(); ++i) {
    VL2_ASSIGN_OR_RETURN(const auto parts, MergeParts(json[i], i));
    joined.assign(parts.first);
    joined.append(parts.second);
    const auto left = ids.find(parts.first);
    const auto right = ids.find(parts.second);
    const auto both = ids.find(joined);
    if (left == ids.end() || right == ids.end() || both == ids.end()) {
      return InvalidArgument("model.merges[", i, "]: \"", parts.first, "\", \"", parts.second,
                             "\" and \"", joined, "\" have to be in the vocabulary");
    }
    if (reserved.contains(joined)) continue;
    merges_.Put(left->second, right->second, {static_cast<uint32_t>(i), both->second});
  }
  return absl::OkStatus();
}

void BpeModel::FindWholeWords(bool ignore_merges, const StringSet& reserved) {
  Scratch scratch;
  std::vector<int32_t> ids;
  whole_words_.reserve(tokens_.size());
  for (const Token& token : tokens_) {
    if (reserved.contains(token.content)) continue;
    std::optional<std::string> bytes = BytesOfToken(token.content);
    if (!bytes) continue;
    if (!ignore_merges) {
      ids.clear();
      Encode(*bytes, scratch, ids);
      if (ids.size() != 1 || ids[0] != token.id) continue;
    }
    whole_words_.emplace(*std::move(bytes), token.id);
  }
}

void BpeModel::Encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (const auto it = whole_words_.find(word); it != whole_words_.end()) {
    ids.push_back(it->second);
    return;
  }
  VL2_CHECK(word.size() < size_t{INT32_MAX}) << word.size();
  if (word.size() <= kMaxShortWord) {
    MergeShort(word, ids);
  } else {
    MergeLong(word, scratch, ids);
  }
}

void BpeModel::MergeShort(std::string_view word, std::vector<int32_t>& ids) const {
  int32_t symbols[kMaxShortWord];
  Merge merges[kMaxShortWord];  // of symbol i with symbol i + 1
  size_t count = word.size();
  for (size_t i = 0; i < count; ++i) symbols[i] = byte_ids_[static_cast<unsigned char>(word[i])];
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = merges_.Find(symbols[i], symbols[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == kNoRank) break;
    symbols[best] = merges[best].id;
    std::copy(symbols + best + 2, symbols + count, symbols + best + 1);
    std::copy(merges + best + 1, merges + count - 1, merges + best);
    --count;
    if (best > 0) merges[best - 1] = merges_.Find(symbols[best - 1], symbols[best]);
    if (best + 1 < count) merges[best] = merges_.Find(symbols[best], symbols[best + 1]);
  }
  ids.insert(ids.end(), symbols, symbols + count);
}

// Candidates wait in a heap as rank << 32 | position of the left symbol: smallest first is lowest
// rank first, then leftmost. A candidate is stale when the pair at its position has another rank by
// the time it is taken (a rank names one pair, so an equal rank means the same pair again).
void BpeModel::MergeLong(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const {
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  const auto count = static_cast<int32_t>(word.size());
  symbols.resize(word.size());
  heap.clear();
  const auto at = [&](int32_t i) -> Scratch::Symbol& { return symbols[static_cast<size_t>(i)]; };
  for (int32_t i = 0; i < count; ++i) {
    at(i) = {byte_ids_[static_cast<unsigned char>(word[static_cast<size_t>(i)])], i - 1,
             i + 1 < count ? i + 1 : -1};
  }
  const auto merge_at = [&](int32_t i) -> Merge {
    const int32_t next = at(i).next;
    if (at(i).id < 0 || next < 0) return {kNoRank, -1};
    return merges_.Find(at(i).id, at(next).id);
  };
  const auto candidate = [](uint32_t rank, int32_t i) {
    return (uint64_t{rank} << 32) | static_cast<uint32_t>(i);
  };
  for (int32_t i = 0; i < count; ++i) {
    const Merge merge = merge_at(i);
    if (merge.rank != kNoRank) heap.push_back(candidate(merge.rank, i));
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto push = [&](int32_t i) {
    const Merge merge = merge_at(i);
    if (merge.rank == kNoRank) return;
    heap.push_back(candidate(merge.rank, i));
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const uint64_t top = heap.back();
    heap.pop_back();
    const auto i = static_cast<int32_t>(top & UINT32_MAX);
    const Merge merge = merge_at(i);
    if (merge.rank != static_cast<uint32_t>(top >> 32)) continue;
    const int32_t right = at(i).next;
    const int32_t after = at(right).next;
    at(i).id = merge.id;
    at(i).next = after;
    at(right).id = -1;
    if (after >= 0) at(after).previous = i;
    push(i);
    if (at(i).previous >= 0) push(at(i).previous);
  }
  for (int32_t i = 0; i >= 0; i = at(i).next) ids.push_back(at(i).id);
}

}  // namespace vl2
