#include "lm_service/scheduler/sequence.h"

#include <algorithm>
#include <span>
#include <utility>

#include "lm_service/kv_cache/kv_cache.h"
#include "runtime/base/check.h"

namespace vl2 {
namespace {

double Milliseconds(Sequence::Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

}  // namespace

Sequence::Sequence(uint64_t id, GenerateRequest request, std::shared_ptr<GenerateSink> sink,
                   const SequenceLimits& limits, Clock::time_point now)
    : id_(id),
      request_(std::move(request)),
      sink_(std::move(sink)),
      limits_(limits),
      submitted_(now) {
  for (const PromptPart& part : request_.parts) {
    if (const auto* ids = std::get_if<std::vector<int32_t>>(&part)) {
      prompt_ids_.insert(prompt_ids_.end(), ids->begin(), ids->end());
      continue;
    }
    const auto& image = std::get<ImagePart>(part);
    slots_.emplace_back(num_prompt(), image.num_embeddings, limits.hidden);
    prompt_ids_.insert(prompt_ids_.end(), static_cast<size_t>(image.num_embeddings),
                       request_.image_token_id);
  }
  VL2_CHECK(!prompt_ids_.empty()) << "sequence " << id;
  block_keys_ = MakeBlockKeys(request_, prompt_ids_);
  stats_.prompt_tokens = num_prompt();
  for (int i = 0; i < request_.num_samples; ++i) {
    Sample sample;
    sample.generated = request_.generated_prefix;
    sample.history.AddPrompt(prompt_ids_);
    for (const int32_t token : sample.generated) sample.history.AddGenerated(token);
    samples_.push_back(std::move(sample));
  }
}

bool Sequence::finished() const {
  return std::all_of(samples_.begin(), samples_.end(),
                     [](const Sample& sample) { return sample.finished; });
}

int64_t Sequence::ReadyPositions() const {
  for (const SlotEmbeddings& slot : slots_) {
    if (!slot.complete()) return slot.ready_position();
  }
  return num_prompt();
}

int64_t Sequence::EmbeddingBytes() const {
  int64_t num_bytes = 0;
  for (const SlotEmbeddings& slot : slots_) num_bytes += slot.num_bytes();
  return num_bytes;
}

void Sequence::AnnounceSlots(Clock::time_point now) {
  slots_announced_ = true;
  last_progress_ = now;
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].first_needed() < slots_[i].num_embeddings()) {
      Note(SequenceTimeline::Kind::kSlotNeeded, now, static_cast<int64_t>(i),
           slots_[i].first_needed());
      sink_->OnSlotNeeded(static_cast<int>(i), slots_[i].first_needed());
    }
  }
}

void Sequence::AddEmbeddings(int slot, int64_t first, ConstHostMatrix embeddings,
                             Clock::time_point now) {
  if (reserved_bytes_ == 0) return;
  slots_[static_cast<size_t>(slot)].Add(first, embeddings);
  last_progress_ = now;
  if (request_.timeline != nullptr && ReadyPositions() == num_prompt()) {
    Note(SequenceTimeline::Kind::kEmbeddingsThere, now);
  }
}

void Sequence::DropEmbeddings() {
  for (SlotEmbeddings& slot : slots_) slot.Drop();
  reserved_bytes_ = 0;
  slots_announced_ = false;
}

size_t Sequence::MaxCachedBlocks() const {
  return std::min(block_keys_.size(), static_cast<size_t>((num_prompt() - 1) / kBlockTokens));
}

void Sequence::PinPrefix(PrefixCache& cache, BlockAllocator& allocator) {
  // Pinned anew before the old pins go: nobody can take the blocks in between.
  std::vector<int32_t> pinned = cache.Pin(std::span(block_keys_).first(MaxCachedBlocks()));
  Release(0, cache, allocator);
  TakePins(std::move(pinned));
}

void Sequence::PinPrefix(PrefixCache& cache) {
  VL2_CHECK(shared_blocks_.empty()) << "sequence " << id_ << " holds " << shared_blocks_.size();
  TakePins(cache.Pin(std::span(block_keys_).first(MaxCachedBlocks())));
}

void Sequence::TakePins(std::vector<int32_t> pinned) {
  shared_blocks_ = std::move(pinned);
  in_cache_.assign(shared_blocks_.size(), true);
  if (slots_announced_) return;
  const int64_t num_cached = num_shared_blocks() * kBlockTokens;
  if (stats_.num_preemptions == 0) stats_.cached_tokens = num_cached;
  for (SlotEmbeddings& slot : slots_) slot.SetCached(num_cached);
}

void Sequence::UnpinPrefix(PrefixCache& cache) {
  cache.Unpin(std::span(block_keys_).first(shared_blocks_.size()));
  shared_blocks_.clear();
  in_cache_.clear();
}

const Sample& Sequence::PromptSample() const {
  const auto it = std::find_if(samples_.begin(), samples_.end(),
                               [](const Sample& sample) { return !sample.finished; });
  VL2_CHECK(it != samples_.end()) << "sequence " << id_ << " has ended";
  return *it;
}

const std::vector<int32_t>& Sequence::BlockTable(int index) const {
  return index < 0 ? PromptSample().block_table : sample(index).block_table;
}

int64_t Sequence::num_blocks() const {
  auto count = num_shared_blocks();
  for (const Sample& sample : samples_) count += static_cast<int64_t>(sample.own_blocks.size());
  return count;
}

int64_t Sequence::NumOwnBlocks(const Sample& sample) const {
  if (sample.finished) return 0;
  // A sample that starts has a place for its first token; one that goes on asks for no more than it
  // had, so that what once ran alone can always run alone.
  const auto num_generated = std::max<int64_t>(1, static_cast<int64_t>(sample.generated.size()));
  return BlocksFor(num_prompt() + num_generated) - num_prompt() / kBlockTokens;
}

int64_t Sequence::NumBlocksToRun() const {
  int64_t needed = num_prompt() / kBlockTokens - num_shared_blocks();
  for (const Sample& sample : samples_) needed += NumOwnBlocks(sample);
  return needed;
}

void Sequence::Admit(const std::vector<int32_t>& blocks, Clock::time_point now) {
  VL2_CHECK(static_cast<int64_t>(blocks.size()) == NumBlocksToRun())
      << blocks.size() << " of " << NumBlocksToRun();
  is_running_ = true;
  Note(SequenceTimeline::Kind::kAdmitted, now);
  const int64_t num_full = num_prompt() / kBlockTokens;
  num_prompt_computed_ = num_shared_blocks() * kBlockTokens;
  auto next = blocks.begin();
  const auto end_shared = next + (num_full - num_shared_blocks());
  shared_blocks_.insert(shared_blocks_.end(), next, end_shared);
  in_cache_.resize(shared_blocks_.size(), false);
  next = end_shared;
  for (Sample& sample : samples_) {
    const int64_t num_own = NumOwnBlocks(sample);
    sample.own_blocks.assign(next, next + num_own);
    next += num_own;
    sample.block_table = shared_blocks_;
    sample.block_table.insert(sample.block_table.end(), sample.own_blocks.begin(),
                              sample.own_blocks.end());
    sample.num_computed = 0;
  }
  if (stats_.num_preemptions == 0) {
    admitted_ = now;
    stats_.cached_tokens = num_prompt_computed_;
    stats_.queue_ms = Milliseconds(now - submitted_);
    stats_.was_admitted = true;
  }
}

int64_t Sequence::NumBlocksToGrow(int index) const {
  const Sample& sample = samples_[static_cast<size_t>(index)];
  const int64_t num_tokens = num_prompt() + static_cast<int64_t>(sample.generated.size());
  return BlocksFor(num_tokens) - static_cast<int64_t>(sample.block_table.size());
}

void Sequence::Grow(int index, const std::vector<int32_t>& blocks) {
  Sample& sample = samples_[static_cast<size_t>(index)];
  sample.own_blocks.insert(sample.own_blocks.end(), blocks.begin(), blocks.end());
  sample.block_table.insert(sample.block_table.end(), blocks.begin(), blocks.end());
}

void Sequence::Release(size_t keep, PrefixCache& cache, BlockAllocator& allocator) {
  for (Sample& sample : samples_) {
    for (const int32_t block : sample.own_blocks) allocator.Release(block);
    sample.own_blocks.clear();
    sample.block_table.clear();
    sample.num_computed = 0;
  }
  for (size_t i = keep; i < shared_blocks_.size(); ++i) {
    if (in_cache_[i]) {
      cache.Unpin(std::span(block_keys_).subspan(i, 1));
    } else {
      allocator.Release(shared_blocks_[i]);
    }
  }
  shared_blocks_.resize(std::min(keep, shared_blocks_.size()));
  in_cache_.resize(shared_blocks_.size());
  num_prompt_computed_ = 0;
  is_running_ = false;
}

void Sequence::ReleaseBlocks(PrefixCache& cache, BlockAllocator& allocator) {
  Release(0, cache, allocator);
}

void Sequence::Preempt(PrefixCache& cache, BlockAllocator& allocator) {
  int64_t num_cached = 0;
  for (const SlotEmbeddings& slot : slots_) {
    if (slot.first_needed() == 0) continue;
    num_cached = std::max(num_cached, slot.first_position() + slot.first_needed());
  }
  Release(static_cast<size_t>(BlocksFor(num_cached)), cache, allocator);
  ++stats_.num_preemptions;
  if (request_.timeline != nullptr) Note(SequenceTimeline::Kind::kPreempted, Clock::now());
}

void Sequence::GiveUpPrefix(PrefixCache& cache, BlockAllocator& allocator, Clock::time_point now) {
  Release(0, cache, allocator);
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].first_needed() == 0) continue;
    slots_[i].NeedAll();
    if (!slots_announced_) continue;
    Note(SequenceTimeline::Kind::kSlotNeeded, now, static_cast<int64_t>(i));
    sink_->OnSlotNeeded(static_cast<int>(i), 0);
  }
  last_progress_ = now;
}

void Sequence::AdvancePrompt(int64_t num_rows, PrefixCache& cache, const CopyBlock& copy_block) {
  const auto first_block = static_cast<size_t>(num_prompt_computed_ / kBlockTokens);
  num_prompt_computed_ += num_rows;
  const auto end_block = static_cast<size_t>(num_prompt_computed_ / kBlockTokens);
  for (size_t b = first_block; b < std::min(end_block, block_keys_.size()); ++b) {
    if (!in_cache_[b]) in_cache_[b] = cache.Insert(block_keys_[b], shared_blocks_[b]);
  }
  if (prompt_done() && num_prompt() % kBlockTokens != 0) {
    // Samples go on in the block that the prompt ends in, each in its own copy.
    const Sample& first = PromptSample();
    for (const Sample& sample : samples_) {
      if (sample.finished || &sample == &first) continue;
      copy_block(first.own_blocks[0], sample.own_blocks[0]);
    }
  }
  sink_->OnPrefill(num_prompt_computed_, num_prompt());
}

void Sequence::NotePrefill(int64_t first, int64_t num_rows, Clock::time_point begin,
                           Clock::time_point end) {
  if (request_.timeline == nullptr) return;
  request_.timeline->Add({.kind = SequenceTimeline::Kind::kPrefill,
                          .begin = begin,
                          .end = end,
                          .first = first,
                          .count = num_rows});
}

void Sequence::AdvanceSample(int index, int64_t num_rows) {
  Sample& sample = samples_[static_cast<size_t>(index)];
  sample.num_computed += num_rows;
}

bool Sequence::EndsSample(int32_t token_id) const {
  if (token_id == limits_.end_token_id && !request_.ignore_end) return true;
  const auto& stops = request_.stop_token_ids;
  return std::find(stops.begin(), stops.end(), token_id) != stops.end();
}

void Sequence::TakeToken(int index, const SampledToken& token, Clock::time_point now) {
  Sample& sample = samples_[static_cast<size_t>(index)];
  VL2_CHECK(!sample.finished) << "sample " << index << " of sequence " << id_;
  if (first_token_ == Clock::time_point()) {
    first_token_ = now;
    Note(SequenceTimeline::Kind::kFirstToken, now);
    stats_.prefill_ms = Milliseconds(now - admitted_);
  }
  sample.generated.push_back(token.id);
  sample.history.AddGenerated(token.id);
  ++stats_.generated_tokens;
  sink_->OnToken(index, token);
  if (EndsSample(token.id)) {
    sample.finished = true;
    sink_->OnSampleFinished(index, FinishReason::kStop);
  } else if (static_cast<int64_t>(sample.generated.size()) >= limits_.max_new_tokens) {
    sample.finished = true;
    sink_->OnSampleFinished(index, FinishReason::kLength);
  }
}

void Sequence::End(const absl::Status& status, Clock::time_point now) {
  stats_.was_queued = true;
  if (admitted_ == Clock::time_point()) stats_.queue_ms = Milliseconds(now - submitted_);
  if (first_token_ != Clock::time_point()) stats_.decode_ms = Milliseconds(now - first_token_);
  sink_->OnFinished(status, stats_);
}

}  // namespace vl2
