#include "runtime/ops/rounding_ops.h"

#include <utility>

namespace vl2 {
namespace {

void Round(Matrix matrix) {
  for (int64_t r = 0; r < matrix.rows; ++r) {
    float* row = matrix.row(r);
    for (int64_t c = 0; c < matrix.cols; ++c) row[c] = ToFloat(ToBFloat16(row[c]));
  }
}

class RoundingOps : public Ops {
 public:
  explicit RoundingOps(std::unique_ptr<Ops> inner) : inner_(std::move(inner)) {}
  std::string_view name() const override { return "bf16 activations"; }

 protected:
  std::unique_ptr<LinearWeight> DoPackLinear(std::span<const TensorView> parts) override {
    return inner_->PackLinear(parts);
  }
  std::unique_ptr<GatedLinearWeight> DoPackGatedLinear(const TensorView& gate,
                                                       const TensorView& up) override {
    return inner_->PackGatedLinear(gate, up);
  }
  std::unique_ptr<LatentWeight> DoPackLatent(const TensorView& kv_b,
                                             const LatentWeight::Dims& dims) override {
    return inner_->PackLatent(kv_b, dims);
  }
  void DoLinear(const LinearArgs& args) override {
    inner_->Linear(args);
    Round(args.out);
  }
  void DoGatedLinear(const GatedLinearArgs& args) override {
    inner_->GatedLinear(args);
    Round(args.out);
  }
  void DoRmsNorm(const RmsNormArgs& args) override {
    inner_->RmsNorm(args);
    Round(args.out);
  }
  void DoLayerNorm(const LayerNormArgs& args) override {
    inner_->LayerNorm(args);
    Round(args.out);
  }
  void DoRotary(const RotaryArgs& args) override {
    inner_->Rotary(args);
    Round(args.x);
  }
  void DoEmbed(const EmbedArgs& args) override {
    inner_->Embed(args);
    Round(args.out);
  }
  void DoRoute(const RouteArgs& args) override { inner_->Route(args); }  // float32 as published
  void DoMoe(const MoeArgs& args) override {
    inner_->Moe(args);
    Round(args.out);
  }
  // The cache holds what it is given, which is rounded already.
  void DoWriteKeysValues(const WriteKeysValuesArgs& args) override {
    inner_->WriteKeysValues(args);
  }
  void DoWriteLatents(const WriteLatentsArgs& args) override { inner_->WriteLatents(args); }
  void DoCausalAttention(const CausalAttentionArgs& args) override {
    inner_->CausalAttention(args);
    Round(args.out);
  }
  void DoLatentAttention(const LatentAttentionArgs& args) override {
    inner_->LatentAttention(args);
    Round(args.out);
  }
  void DoFullAttention(const FullAttentionArgs& args) override {
    inner_->FullAttention(args);
    Round(args.out);
  }
  void DoSpaceToDepth(const SpaceToDepthArgs& args) override { inner_->SpaceToDepth(args); }

 private:
  const std::unique_ptr<Ops> inner_;
};

}  // namespace

std::unique_ptr<Ops> MakeRoundingOps(std::unique_ptr<Ops> inner) {
  return std::make_unique<RoundingOps>(std::move(inner));
}

}  // namespace vl2
