// Ops: everything the models compute, one method per operation. Table of contents:
//
//   linear.h           Linear, GatedLinear
//   norm.h             RmsNorm, LayerNorm
//   rotary.h           Rotary
//   embedding.h        Embed, WriteRows, TakeRows
//   router.h, moe.h    Route, Moe
//   batch.h            SetBatch
//   paged_cache.h      MakeCache, WriteKeysValues, WriteLatents, CopyBlock, ReadCache
//   attention.h        CausalAttention, LatentAttention, FullAttention
//   patches.h          ExtractPatches
//   space_to_depth.h   SpaceToDepth
//
// The models are written once against this class. The public methods check the arguments (a wrong
// shape, or memory of another device, is a bug: VL2_CHECK) and call the backend's body:
//   ref/   plain loops accumulated in double: the oracle of the tests
//   cpu/   SIMD through Highway, chosen at run time; several threads
// A backend is a subclass and a line in make_ops.cc; nothing above this folder knows it.
//
// Owns: scratch memory that grows while warming up and is kept.
// Threading: one thread at a time calls methods of one Ops object (Pack* too).
// Errors: none come back; arguments are the program's own.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "runtime/ops/attention.h"
#include "runtime/ops/batch.h"
#include "runtime/ops/embedding.h"
#include "runtime/ops/linear.h"
#include "runtime/ops/moe.h"
#include "runtime/ops/norm.h"
#include "runtime/ops/paged_cache.h"
#include "runtime/ops/patches.h"
#include "runtime/ops/rotary.h"
#include "runtime/ops/router.h"
#include "runtime/ops/space_to_depth.h"
#include "runtime/tensor/device.h"
#include "runtime/tensor/device_tensor.h"
#include "runtime/tensor/tensor.h"
#include "runtime/weight_format/weight_format.h"

namespace vl2 {

// What makes two steps alike: a backend that records a step's launches may replay them.
struct StepKey {
  int64_t num_rows = 0;
  bool decode_only = false;  // each sequence has one generated row
};

class Ops {
 public:
  // All memory of arguments is of `device`, which outlives this.
  explicit Ops(Device& device) : device_(device) {}
  virtual ~Ops() = default;
  virtual std::string_view name() const = 0;
  Device& device() const { return device_; }

  // A copy on the device, for biases, norms, tables.
  DeviceTensor Upload(const TensorView& values) { return DeviceTensor(device_, values); }

  // Copies weights into the backend's layout, in the format asked for; kAsStored keeps their type
  // (bfloat16 stays bfloat16, float32 stays float32). Weights that are packed already keep their
  // format, whatever is asked for. Several parts [out_i, in] are joined along `out`; of packed ones
  // each but the last is whole panels. The views may be released afterwards.
  std::unique_ptr<LinearWeight> PackLinear(std::span<const WeightView> parts,
                                           WeightFormat format = WeightFormat::kAsStored);
  std::unique_ptr<LinearWeight> PackLinear(const WeightView& weight,
                                           WeightFormat format = WeightFormat::kAsStored) {
    return PackLinear(std::span(&weight, 1), format);
  }
  std::unique_ptr<GatedLinearWeight> PackGatedLinear(const WeightView& gate,  // [out, in]
                                                     const WeightView& up,    // [out, in]
                                                     WeightFormat format = WeightFormat::kAsStored);
  std::unique_ptr<LatentWeight> PackLatent(const TensorView& kv_b,  // [heads·(nope+v), rank]
                                           const LatentWeight::Dims& dims);
  std::unique_ptr<MoeWeight> PackExperts(const MoeWeight::Dims& dims, const LoadExpert& load,
                                         WeightFormat format = WeightFormat::kAsStored);

  // Bytes of one layer's part of a block.
  virtual int64_t CacheLayerBytes(const CacheShape& shape) const = 0;
  int64_t CacheBlockBytes(const CacheShape& shape) const {
    return CacheLayerBytes(shape) * shape.num_layers;
  }
  // Not initialised. REQUIRES: num_blocks >= 1.
  std::unique_ptr<PagedCache> MakeCache(const CacheShape& shape, int64_t num_blocks);

  virtual std::unique_ptr<Batch> NewBatch() { return std::make_unique<Batch>(); }
  void SetBatch(const BatchRows& rows, Batch* batch);

  // Runs `record`, which calls operations of one step; a backend may keep the launches and, for an
  // equal key, repeat them. REQUIRES: equal keys record the same operations on the same memory.
  virtual void RunStep(const StepKey& key, const std::function<void()>& record) { record(); }

  void Linear(const LinearArgs& args);
  void GatedLinear(const GatedLinearArgs& args);
  void RmsNorm(const RmsNormArgs& args);
  void LayerNorm(const LayerNormArgs& args);
  void Rotary(const RotaryArgs& args);
  void Embed(const EmbedArgs& args);
  void WriteRows(const WriteRowsArgs& args);
  void TakeRows(const TakeRowsArgs& args);
  void Route(const RouteArgs& args);
  void Moe(const MoeArgs& args);
  void WriteKeysValues(const WriteKeysValuesArgs& args);
  void WriteLatents(const WriteLatentsArgs& args);
  void CopyBlock(const PagedCache& cache, int32_t from, int32_t to);  // all layers
  void ReadCache(const ReadCacheArgs& args);
  void CausalAttention(const CausalAttentionArgs& args);
  void LatentAttention(const LatentAttentionArgs& args);
  void FullAttention(const FullAttentionArgs& args);
  void ExtractPatches(const ExtractPatchesArgs& args);
  void SpaceToDepth(const SpaceToDepthArgs& args);

 protected:
  virtual std::unique_ptr<LinearWeight> DoPackLinear(std::span<const WeightView> parts,
                                                     WeightFormat format) = 0;
  virtual std::unique_ptr<GatedLinearWeight> DoPackGatedLinear(const WeightView& gate,
                                                               const WeightView& up,
                                                               WeightFormat format) = 0;
  virtual std::unique_ptr<LatentWeight> DoPackLatent(const TensorView& kv_b,
                                                     const LatentWeight::Dims& dims) = 0;
  virtual std::unique_ptr<MoeWeight> DoPackExperts(const MoeWeight::Dims& dims,
                                                   const LoadExpert& load, WeightFormat format) = 0;
  // After the host's side of a batch is set: what the device needs of it.
  virtual void DoSetBatch(Batch* batch) {}
  virtual void DoLinear(const LinearArgs& args) = 0;
  virtual void DoGatedLinear(const GatedLinearArgs& args) = 0;
  virtual void DoRmsNorm(const RmsNormArgs& args) = 0;
  virtual void DoLayerNorm(const LayerNormArgs& args) = 0;
  virtual void DoRotary(const RotaryArgs& args) = 0;
  virtual void DoEmbed(const EmbedArgs& args) = 0;
  virtual void DoTakeRows(const TakeRowsArgs& args) = 0;
  virtual void DoRoute(const RouteArgs& args) = 0;
  virtual void DoMoe(const MoeArgs& args) = 0;
  virtual void DoWriteKeysValues(const WriteKeysValuesArgs& args) = 0;
  virtual void DoWriteLatents(const WriteLatentsArgs& args) = 0;
  virtual void DoReadCache(const ReadCacheArgs& args) = 0;
  virtual void DoCausalAttention(const CausalAttentionArgs& args) = 0;
  virtual void DoLatentAttention(const LatentAttentionArgs& args) = 0;
  virtual void DoFullAttention(const FullAttentionArgs& args) = 0;
  virtual void DoExtractPatches(const ExtractPatchesArgs& args) = 0;
  virtual void DoSpaceToDepth(const SpaceToDepthArgs& args) = 0;

 private:
  Device& device_;
};

}  // namespace vl2
