// LanguageModel: input vectors in, logits out, over a ragged batch and the paged cache.
//
// Source: DeepseekV2ForCausalLM (modeling_deepseek.py). One Forward runs any mix of prefill chunks
// and decode tokens; a position's result does not depend on the mix (determinism contract).
//
// Owns: the weights and scratch activations. Threading: engine thread only.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "lm_service/kv_cache/kv_cache.h"
#include "lm_service/model/decoder_layer.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/nn/layers.h"
#include "runtime/nn/tap.h"
#include "runtime/nn/weight_loader.h"
#include "runtime/ops/ops.h"

namespace vl2 {

struct ForwardArgs {
  const Batch* batch = nullptr;  // set by SetBatch
  // The input vectors, from Embed or the vision encoder; used as the residual stream and
  // overwritten.
  Matrix x;  // [tokens, hidden]
  const PagedCache* cache = nullptr;
  Matrix logits;       // [the batch's logit_rows, vocab_size]
  Tap* tap = nullptr;  // "hidden.layer<i>", "hidden.final_norm", experts
};

class LanguageModel {
 public:
  // `ops` must outlive the model.
  static std::unique_ptr<LanguageModel> Load(const Checkpoint& checkpoint, Ops& ops,
                                             const LoadProgress& progress = {},
                                             WeightPolicy policy = WeightPolicy::kAsStored);

  // A cache of this model's shape. REQUIRES: num_blocks >= 1; dtype is kF32 or kBF16.
  std::unique_ptr<PagedCache> MakeCache(int64_t num_blocks, DType dtype = DType::kF32) const;
  // Sets a step's rows; their values are checked against the model and `cache`.
  void SetBatch(std::span<const SequenceRows> sequences, std::span<const int32_t> ids,
                std::span<const int32_t> logit_rows, const PagedCache& cache, Batch* batch) const;

  // Input vectors of the batch's token ids.
  void Embed(const Batch& batch, Matrix out);  // [tokens, hidden]
  void Forward(const ForwardArgs& args);

  Ops& ops() const { return ops_; }
  const LanguageConfig& config() const { return config_; }
  int64_t hidden() const { return config_.hidden_size; }
  int64_t vocab_size() const { return config_.vocab_size; }

 private:
  LanguageModel(const LanguageConfig& config, Ops& ops)
      : config_(config), ops_(ops), scratch_(ops.device()), final_rows_(ops.device()) {}

  void RunLayers(const ForwardArgs& args);

  const LanguageConfig config_;
  Ops& ops_;
  RotaryTable rotary_;
  RouterConfig router_;
  float softmax_scale_ = 0;
  DeviceTensor embed_tokens_;  // [vocab_size, hidden]
  std::vector<DecoderLayer> layers_;
  RmsNormLayer norm_;
  std::unique_ptr<LinearWeight> lm_head_;  // [vocab_size, hidden]

  DecoderScratch scratch_;
  GrowingMatrix final_rows_;
};

// The router's settings; REQUIRES: a configuration accepted by ParseModelConfig.
RouterConfig MakeRouterConfig(const LanguageConfig& config);

}  // namespace vl2
