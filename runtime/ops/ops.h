// Ops: everything the models compute, one method per operation. Table of contents:
//
//   linear.h           Linear, GatedLinear
//   norm.h             RmsNorm, LayerNorm
//   rotary.h           Rotary
//   embedding.h        Embed
//   router.h, moe.h    Route, Moe
//   paged_cache.h      WriteKeysValues, WriteLatents
//   attention.h        CausalAttention, LatentAttention, FullAttention
//   space_to_depth.h   SpaceToDepth
//
// The models are written once against this class. The public methods check the arguments (a wrong
// shape is a bug: VL2_CHECK) and call the backend's body:
//   ref/   plain loops accumulated in double: the oracle of the tests
//   cpu/   SIMD through Highway, chosen at run time; several threads
//
// Owns: scratch memory that grows while warming up and is kept.
// Threading: one thread at a time calls methods of one Ops object (Pack* too).
// Errors: none come back; arguments are the program's own.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/base/thread_pool.h"
#include "runtime/ops/attention.h"
#include "runtime/ops/embedding.h"
#include "runtime/ops/linear.h"
#include "runtime/ops/moe.h"
#include "runtime/ops/norm.h"
#include "runtime/ops/paged_cache.h"
#include "runtime/ops/rotary.h"
#include "runtime/ops/router.h"
#include "runtime/ops/space_to_depth.h"
#include "runtime/tensor/tensor.h"

namespace vl2 {

class Ops {
 public:
  virtual ~Ops() = default;
  virtual std::string_view name() const = 0;

  // Copies weights into the backend's layout, keeping their type (bfloat16 stays bfloat16, float32
  // stays float32). Several parts [out_i, in] are joined along `out`. The views may be released
  // afterwards.
  std::unique_ptr<LinearWeight> PackLinear(std::span<const TensorView> parts);
  std::unique_ptr<LinearWeight> PackLinear(const TensorView& weight) {
    return PackLinear(std::span(&weight, 1));
  }
  std::unique_ptr<GatedLinearWeight> PackGatedLinear(const TensorView& gate,  // [out, in]
                                                     const TensorView& up);   // [out, in]
  std::unique_ptr<LatentWeight> PackLatent(const TensorView& kv_b,  // [heads·(nope+v), rank]
                                           const LatentWeight::Dims& dims);

  void Linear(const LinearArgs& args);
  void GatedLinear(const GatedLinearArgs& args);
  void RmsNorm(const RmsNormArgs& args);
  void LayerNorm(const LayerNormArgs& args);
  void Rotary(const RotaryArgs& args);
  void Embed(const EmbedArgs& args);
  void Route(const RouteArgs& args);
  void Moe(const MoeArgs& args);
  void WriteKeysValues(const WriteKeysValuesArgs& args);
  void WriteLatents(const WriteLatentsArgs& args);
  void CausalAttention(const CausalAttentionArgs& args);
  void LatentAttention(const LatentAttentionArgs& args);
  void FullAttention(const FullAttentionArgs& args);
  void SpaceToDepth(const SpaceToDepthArgs& args);

 protected:
  virtual std::unique_ptr<LinearWeight> DoPackLinear(std::span<const TensorView> parts) = 0;
  virtual std::unique_ptr<GatedLinearWeight> DoPackGatedLinear(const TensorView& gate,
                                                               const TensorView& up) = 0;
  virtual std::unique_ptr<LatentWeight> DoPackLatent(const TensorView& kv_b,
                                                     const LatentWeight::Dims& dims) = 0;
  virtual void DoLinear(const LinearArgs& args) = 0;
  virtual void DoGatedLinear(const GatedLinearArgs& args) = 0;
  virtual void DoRmsNorm(const RmsNormArgs& args) = 0;
  virtual void DoLayerNorm(const LayerNormArgs& args) = 0;
  virtual void DoRotary(const RotaryArgs& args) = 0;
  virtual void DoEmbed(const EmbedArgs& args) = 0;
  virtual void DoRoute(const RouteArgs& args) = 0;
  virtual void DoMoe(const MoeArgs& args) = 0;
  virtual void DoWriteKeysValues(const WriteKeysValuesArgs& args) = 0;
  virtual void DoWriteLatents(const WriteLatentsArgs& args) = 0;
  virtual void DoCausalAttention(const CausalAttentionArgs& args) = 0;
  virtual void DoLatentAttention(const LatentAttentionArgs& args) = 0;
  virtual void DoFullAttention(const FullAttentionArgs& args) = 0;
  virtual void DoSpaceToDepth(const SpaceToDepthArgs& args) = 0;
};

// The oracle; single-threaded.
std::unique_ptr<Ops> MakeRefOps();

// The fast CPU backend. `pool` must outlive it, and is used only inside its methods.
std::unique_ptr<Ops> MakeCpuOps(ThreadPool* pool);

// By name: "ref" or "cpu".
absl::StatusOr<std::unique_ptr<Ops>> MakeOps(std::string_view name, ThreadPool* pool);

}  // namespace vl2
