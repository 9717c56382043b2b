// CpuOps: the CPU backend. SIMD through Highway, the instruction set chosen at run time
// (cpu_target.h); work is cut into small units that the pool's threads take.
//
// Owns: scratch memory, grown while warming up and kept. Threading: as Ops; the pool's threads run
// only inside its methods.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "runtime/base/thread_pool.h"
#include "runtime/ops/cpu/attention_scratch.h"
#include "runtime/ops/cpu/matmul.h"
#include "runtime/ops/cpu/moe_plan.h"
#include "runtime/ops/host_ops.h"

namespace vl2 {

class CpuOps final : public HostOps {
 public:
  CpuOps(ThreadPool* pool, Device& device);
  std::string_view name() const override { return "cpu"; }

 private:
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

  void LatentPrompt(const LatentAttentionArgs& args);
  void LatentGenerated(const LatentAttentionArgs& args);

  ThreadPool* const pool_;
  Matmul matmul_;
  GrowingHostMatrix rows_;  // Linear, GatedLinear: x as integers
  MoePlan moe_;
  GrowingHostMatrix logits_;  // Route: [tokens, num_experts]
  AttentionScratch attention_;
};

}  // namespace vl2
