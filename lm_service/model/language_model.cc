#include "lm_service/model/language_model.h"

#include <algorithm>

#include "lm_service/model/rotary_table.h"
#include "runtime/base/status.h"

namespace vl2 {

RouterConfig MakeRouterConfig(const LanguageConfig& config) {
  RouterConfig router;
  if (!config.n_routed_experts) return router;
  router.scoring_func =
      config.scoring_func == "sigmoid" ? ScoringFunc::kSigmoid : ScoringFunc::kSoftmax;
  router.topk_method = config.topk_method == "noaux_tc" ? TopkMethod::kNoAuxTc
                       : config.topk_method == "group_limited_greedy"
                           ? TopkMethod::kGroupLimitedGreedy
                           : TopkMethod::kGreedy;
  router.num_experts = static_cast<int>(*config.n_routed_experts);
  router.top_k = static_cast<int>(*config.num_experts_per_tok);
  router.num_groups = static_cast<int>(config.n_group.value_or(1));
  router.topk_group = static_cast<int>(config.topk_group.value_or(1));
  router.norm_topk_prob = config.norm_topk_prob;
  router.routed_scaling_factor = static_cast<float>(config.routed_scaling_factor);
  return router;
}

std::unique_ptr<LanguageModel> LanguageModel::Load(const Checkpoint& checkpoint, Ops& ops,
                                                   const LoadProgress& progress,
                                                   WeightPolicy policy) {
  const LanguageConfig& config = checkpoint.config().language_config;
  WeightLoader loader(checkpoint, ops, progress, policy);
  std::unique_ptr<LanguageModel> model(new LanguageModel(config, ops));
  model->rotary_ = MakeRotaryTable(config, ops);
  model->router_ = MakeRouterConfig(config);
  model->softmax_scale_ = SoftmaxScale(config);
  const std::string table = "language.model.embed_tokens.weight";
  model->embed_tokens_ = loader.Table(table);
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    model->layers_.push_back(DecoderLayer::Load(config, i, loader));
  }
  model->norm_ = loader.RmsNorm("language.model.norm", config.rms_norm_eps);
  model->lm_head_ = config.tie_word_embeddings
                        ? loader.TableAsLinear(table, "language.lm_head.weight")
                        : std::move(loader.Linear("language.lm_head", false).weight);
  return model;
}

std::unique_ptr<PagedCache> LanguageModel::MakeCache(int64_t num_blocks, DType dtype) const {
  return ops_.MakeCache(MakeCacheShape(config_, dtype), num_blocks);
}

void LanguageModel::SetBatch(std::span<const SequenceRows> sequences, std::span<const int32_t> ids,
                             std::span<const int32_t> logit_rows, const PagedCache& cache,
                             Batch* batch) const {
  ops_.SetBatch({.sequences = sequences,
                 .ids = ids,
                 .logit_rows = logit_rows,
                 .limits = {.num_blocks = cache.num_blocks(),
                            .max_positions = config_.max_position_embeddings,
                            .vocab_size = config_.vocab_size}},
                batch);
}

void LanguageModel::Embed(const Batch& batch, Matrix out) {
  ops_.Embed({.table = &embed_tokens_, .batch = &batch, .out = out});
}

void LanguageModel::Forward(const ForwardArgs& args) {
  const Batch& batch = *args.batch;
  const StepKey key = {.num_rows = batch.num_rows(),
                       .decode_only = std::ranges::all_of(batch.sequences(), [](const auto& s) {
                         return s.num_rows == 1 && s.first_position >= s.num_prompt;
                       })};
  ops_.RunStep(key, [&] { RunLayers(args); });
}

void LanguageModel::RunLayers(const ForwardArgs& args) {
  const LayerContext context = {.ops = ops_,
                                .config = config_,
                                .rotary = rotary_,
                                .router = router_,
                                .softmax_scale = softmax_scale_,
                                .batch = *args.batch,
                                .scratch = scratch_,
                                .tap = args.tap};
  for (size_t i = 0; i < layers_.size(); ++i) {
    layers_[i].Forward(context, args.cache->layer(static_cast<int64_t>(i)), args.x);
    Show(args.tap, Cat("hidden.layer", i), args.x);
  }
  // Only the rows that someone samples from go through the vocabulary.
  const auto num_rows = static_cast<int64_t>(args.batch->logit_rows().size());
  if (num_rows == 0) return;
  const Matrix final_rows = final_rows_.Resize(num_rows, args.x.cols);
  ops_.TakeRows({.x = args.x, .batch = args.batch, .out = final_rows});
  norm_.Forward(ops_, final_rows, final_rows);
  Show(args.tap, "hidden.final_norm", final_rows);
  ops_.Linear({.x = final_rows, .weight = lm_head_.get(), .residual = {}, .out = args.logits});
}

}  // namespace vl2
