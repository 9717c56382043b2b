// RefOps: the oracle. Every operation as its header's formula says, plain loops, sums in double.
// Single-threaded and slow; nothing but tests and golden_check --ops=ref should use it.
#pragma once

#include <deque>
#include <memory>
#include <string_view>
#include <vector>

#include "runtime/ops/host_ops.h"
#include "runtime/tensor/tensor.h"

namespace vl2 {

// A matrix of integers and the float scale of each superblock: weights in another format than as
// stored (weight_format/superblock.h), one output after the other.
struct RefIntegers {
  std::vector<int32_t> values;  // [out, superblocks · kSuperblockK]
  std::vector<float> scales;    // [out, superblocks]
};

// Weights as stored keep the checkpoint's bytes as they are.
class RefLinearWeight : public LinearWeight {
 public:
  explicit RefLinearWeight(std::span<const WeightView> parts,
                           WeightFormat format = WeightFormat::kAsStored);
  size_t num_bytes() const override {
    return weight_.num_bytes() + integers_.values.size() * 4 + integers_.scales.size() * 4;
  }
  WeightFormat format() const { return format_; }
  // Row `index` as doubles, in_features() of them. REQUIRES: kAsStored.
  void Row(int64_t index, double* row) const;
  // All outputs of one row of x, in_features() values.
  std::vector<double> Product(const float* x) const;

 private:
  const WeightFormat format_;
  Tensor weight_;         // [out, in]; as stored
  RefIntegers integers_;  // the other formats
};

class RefGatedLinearWeight : public GatedLinearWeight {
 public:
  RefGatedLinearWeight(const WeightView& gate, const WeightView& up,
                       WeightFormat format = WeightFormat::kAsStored);
  size_t num_bytes() const override { return gate.num_bytes() + up.num_bytes(); }
  const RefLinearWeight gate;
  const RefLinearWeight up;
};

class RefLatentWeight : public LatentWeight {
 public:
  RefLatentWeight(const TensorView& kv_b, const Dims& dims);
  size_t num_bytes() const override { return kv_b.num_bytes(); }
  const RefLinearWeight kv_b;  // [heads·(nope+v), rank]
};

class RefMoeWeight : public MoeWeight {
 public:
  RefMoeWeight(const Dims& dims, const LoadExpert& load, WeightFormat format);
  size_t num_bytes() const override;
  // [num_experts], then the shared ones where there are some.
  std::deque<RefGatedLinearWeight> gate_up;
  std::deque<RefLinearWeight> down;
};

class RefOps : public HostOps {
 public:
  explicit RefOps(Device& device) : HostOps(device) {}
  std::string_view name() const override { return "ref"; }

 protected:
  std::unique_ptr<LinearWeight> DoPackLinear(std::span<const WeightView> parts,
                                             WeightFormat format) override;
  std::unique_ptr<GatedLinearWeight> DoPackGatedLinear(const WeightView& gate, const WeightView& up,
                                                       WeightFormat format) override;
  std::unique_ptr<LatentWeight> DoPackLatent(const TensorView& kv_b,
                                             const LatentWeight::Dims& dims) override;
  std::unique_ptr<MoeWeight> DoPackExperts(const MoeWeight::Dims& dims, const LoadExpert& load,
                                           WeightFormat format) override;
  void DoLinear(const LinearArgs& args) override;
  void DoGatedLinear(const GatedLinearArgs& args) override;
  void DoRmsNorm(const RmsNormArgs& args) override;
  void DoLayerNorm(const LayerNormArgs& args) override;
  void DoRotary(const RotaryArgs& args) override;
  void DoEmbed(const EmbedArgs& args) override;
  void DoRoute(const RouteArgs& args) override;
  void DoMoe(const MoeArgs& args) override;
  void DoWriteKeysValues(const WriteKeysValuesArgs& args) override;
  void DoWriteLatents(const WriteLatentsArgs& args) override;
  void DoCausalAttention(const CausalAttentionArgs& args) override;
  void DoLatentAttention(const LatentAttentionArgs& args) override;
  void DoFullAttention(const FullAttentionArgs& args) override;
  void DoSpaceToDepth(const SpaceToDepthArgs& args) override;
};

}  // namespace vl2
