// ForwardingOps: a backend that hands every operation to another one and may act before and after
// it: for looks at results (rounding them) and at how memory is used.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "runtime/ops/ops.h"

namespace vl2 {

class ForwardingOps : public Ops {
 public:
  explicit ForwardingOps(std::unique_ptr<Ops> inner)
      : Ops(inner->device()), inner_(std::move(inner)) {}
  std::string_view name() const override { return inner_->name(); }
  int64_t CacheLayerBytes(const CacheShape& shape) const final {
    return inner_->CacheLayerBytes(shape);
  }
  std::unique_ptr<Batch> NewBatch() final { return inner_->NewBatch(); }

 protected:
  virtual void Before() {}
  // Of operations that have one, `out` is what was written; else it is empty.
  virtual void After(Matrix out) {}

  std::unique_ptr<LinearWeight> DoPackLinear(std::span<const WeightView> parts,
                                             WeightFormat format) final {
    return inner_->PackLinear(parts, format);
  }
  std::unique_ptr<GatedLinearWeight> DoPackGatedLinear(const WeightView& gate, const WeightView& up,
                                                       WeightFormat format) final {
    return inner_->PackGatedLinear(gate, up, format);
  }
  std::unique_ptr<LatentWeight> DoPackLatent(const TensorView& kv_b,
                                             const LatentWeight::Dims& dims) final {
    return inner_->PackLatent(kv_b, dims);
  }
  std::unique_ptr<MoeWeight> DoPackExperts(const MoeWeight::Dims& dims, const LoadExpert& load,
                                           WeightFormat format) final {
    return inner_->PackExperts(dims, load, format);
  }
  void DoLinear(const LinearArgs& args) final { Forward(&Ops::Linear, args, args.out); }
  void DoGatedLinear(const GatedLinearArgs& args) final {
    Forward(&Ops::GatedLinear, args, args.out);
  }
  void DoRmsNorm(const RmsNormArgs& args) final { Forward(&Ops::RmsNorm, args, args.out); }
  void DoLayerNorm(const LayerNormArgs& args) final { Forward(&Ops::LayerNorm, args, args.out); }
  void DoRotary(const RotaryArgs& args) final { Forward(&Ops::Rotary, args, args.x); }
  void DoEmbed(const EmbedArgs& args) final { Forward(&Ops::Embed, args, args.out); }
  void DoTakeRows(const TakeRowsArgs& args) final { Forward(&Ops::TakeRows, args, args.out); }
  void DoRoute(const RouteArgs& args) final { Forward(&Ops::Route, args, {}); }
  void DoMoe(const MoeArgs& args) final { Forward(&Ops::Moe, args, args.out); }
  void DoWriteKeysValues(const WriteKeysValuesArgs& args) final {
    Forward(&Ops::WriteKeysValues, args, {});
  }
  void DoWriteLatents(const WriteLatentsArgs& args) final { Forward(&Ops::WriteLatents, args, {}); }
  void DoReadCache(const ReadCacheArgs& args) final { Forward(&Ops::ReadCache, args, {}); }
  void DoCausalAttention(const CausalAttentionArgs& args) final {
    Forward(&Ops::CausalAttention, args, args.out);
  }
  void DoLatentAttention(const LatentAttentionArgs& args) final {
    Forward(&Ops::LatentAttention, args, args.out);
  }
  void DoFullAttention(const FullAttentionArgs& args) final {
    Forward(&Ops::FullAttention, args, args.out);
  }
  void DoExtractPatches(const ExtractPatchesArgs& args) final {
    Forward(&Ops::ExtractPatches, args, {});  // pixels as they came
  }
  void DoSpaceToDepth(const SpaceToDepthArgs& args) final {
    Forward(&Ops::SpaceToDepth, args, args.out);
  }

 private:
  template <typename Args>
  void Forward(void (Ops::*operation)(const Args&), const Args& args, Matrix out) {
    Before();
    (inner_.get()->*operation)(args);
    After(out);
  }

  const std::unique_ptr<Ops> inner_;
};

}  // namespace vl2
