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
                                                   const LoadProgress& progress) {
  const LanguageConfig& config = checkpoint.config().language_config;
  WeightLoader loader(checkpoint, ops, progress);
  std::unique_ptr<LanguageModel> model(new LanguageModel(config, ops));
  model->rotary_ = MakeRotaryTable(config);
  model->router_ = MakeRouterConfig(config);
  model->softmax_scale_ = SoftmaxScale(config);
  model->embed_tokens_ = loader.Table("language.model.embed_tokens.weight");
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    model->layers_.push_back(DecoderLayer::Load(config, i, loader));
  }
  model->norm_ = loader.RmsNorm("language.model.norm", config.rms_norm_eps);
  model->lm_head_ = config.tie_word_embeddings
                        ? ops.PackLinear(model->embed_tokens_.view())
                        : std::move(loader.Linear("language.lm_head", false).weight);
  return model;
}

void LanguageModel::Embed(std::span<const int32_t> ids, Matrix out) {
  VL2_CHECK(out.rows == static_cast<int64_t>(ids.size())) << out.rows << " " << ids.size();
  ops_.Embed({.table = embed_tokens_.view(), .ids = ids.data(), .out = out});
}

void LanguageModel::Forward(const ForwardArgs& args) {
  positions_.clear();
  for (const SequenceRows& sequence : args.sequences) {
    for (int64_t i = 0; i < sequence.num_rows; ++i) {
      positions_.push_back(static_cast<int32_t>(sequence.first_position + i));
    }
  }
  const LayerContext context = {.ops = ops_,
                                .config = config_,
                                .rotary = rotary_,
                                .router = router_,
                                .softmax_scale = softmax_scale_,
                                .sequences = args.sequences,
                                .positions = positions_.data(),
                                .scratch = scratch_,
                                .tap = args.tap};
  for (size_t i = 0; i < layers_.size(); ++i) {
    layers_[i].Forward(context, args.cache->layer(static_cast<int64_t>(i)), args.x);
    if (args.tap != nullptr) args.tap->OnMatrix(Cat("hidden.layer", i), args.x);
  }
  // Only the rows that someone samples from go through the vocabulary.
  const auto num_rows = static_cast<int64_t>(args.logit_rows.size());
  if (num_rows == 0) return;
  const Matrix final_rows = final_rows_.Resize(num_rows, args.x.cols);
  for (int64_t r = 0; r < num_rows; ++r) {
    const float* row = args.x.row(args.logit_rows[static_cast<size_t>(r)]);
    std::copy(row, row + args.x.cols, final_rows.row(r));
  }
  norm_.Forward(ops_, final_rows, final_rows);
  if (args.tap != nullptr) args.tap->OnMatrix("hidden.final_norm", final_rows);
  ops_.Linear({.x = final_rows, .weight = lm_head_.get(), .residual = {}, .out = args.logits});
}

}  // namespace vl2
