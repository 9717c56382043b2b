#include "runtime/ops/ops.h"

namespace vl2 {
namespace {

// One message shape for all checks: what was found, what was expected.
template <typename T>
void CheckHostMatrix(const char* name, const MatrixView<T>& matrix, int64_t rows, int64_t cols) {
  VL2_CHECK(matrix.rows == rows && matrix.cols == cols && matrix.stride >= matrix.cols)
      << name << " is [" << matrix.rows << ", " << matrix.cols << "] stride " << matrix.stride
      << ", expected [" << rows << ", " << cols << "]";
}

void CheckWeight(const char* name, const WeightView& weight) {
  VL2_CHECK(weight.shape.rank() == 2 && weight.bytes != nullptr &&
            (weight.packed != WeightFormat::kAsStored
                 ? weight.dtype == DType::kU8
                 : weight.dtype == DType::kBF16 || weight.dtype == DType::kF32))
      << name << " is " << weight.shape << " " << Name(weight.dtype);
}

// The memory that an Ops object works in, and checks of what lies there.
struct Checks {
  const Device& device;

  void Matrix(const char* name, const ConstMatrix& matrix, int64_t rows, int64_t cols,
              DType dtype = DType::kF32) const {
    VL2_CHECK(matrix.rows == rows && matrix.cols == cols && matrix.stride >= matrix.cols &&
              matrix.dtype == dtype)
        << name << " is [" << matrix.rows << ", " << matrix.cols << "] stride " << matrix.stride
        << " " << Name(matrix.dtype) << ", expected [" << rows << ", " << cols << "] "
        << Name(dtype);
    VL2_CHECK(matrix.data == nullptr || matrix.device == &device)
        << name << " lies in memory of " << matrix.device->name();
  }
  // `required` or null.
  void Vector(const char* name, const DeviceTensor* vector, int64_t size, bool required) const {
    VL2_CHECK(vector != nullptr || !required) << name;
    if (vector == nullptr) return;
    VL2_CHECK(vector->shape() == Shape({size}) && vector->dtype() == DType::kF32)
        << name << " is " << vector->shape() << " " << Name(vector->dtype()) << ", expected ["
        << size << "] F32";
    VL2_CHECK(vector->device() == &device) << name << " lies in other memory";
  }
  void Batch(const vl2::Batch* batch, int64_t rows) const {
    VL2_CHECK(batch != nullptr && batch->num_rows() == rows)
        << "a batch of " << (batch != nullptr ? batch->num_rows() : -1) << " rows, expected "
        << rows;
  }
  void Cache(const PagedLayer& layer, const vl2::Batch& batch) const {
    VL2_CHECK(layer.device == &device) << "the cache lies in other memory";
    VL2_CHECK(batch.limits().num_blocks <= layer.num_blocks)
        << "a batch for " << batch.limits().num_blocks << " blocks, the cache has "
        << layer.num_blocks;
  }
};

}  // namespace

std::unique_ptr<LinearWeight> Ops::PackLinear(std::span<const WeightView> parts,
                                              WeightFormat format) {
  VL2_CHECK(!parts.empty());
  for (const WeightView& part : parts) {
    CheckWeight("weight", part);
    VL2_CHECK(part.shape[1] == parts[0].shape[1] && part.dtype == parts[0].dtype &&
              part.packed == parts[0].packed)
        << part.shape << " " << Name(part.dtype) << " joined with " << parts[0].shape << " "
        << Name(parts[0].dtype);
  }
  if (parts[0].packed == WeightFormat::kAsStored) return DoPackLinear(parts, format);
  for (const WeightView& part : parts.first(parts.size() - 1)) {
    VL2_CHECK(part.shape[0] % kSuperblockLanes == 0) << part.shape << " is not of whole panels";
  }
  return DoPackLinear(parts, parts[0].packed);
}

std::unique_ptr<GatedLinearWeight> Ops::PackGatedLinear(const WeightView& gate,
                                                        const WeightView& up, WeightFormat format) {
  CheckWeight("gate", gate);
  CheckWeight("up", up);
  VL2_CHECK(gate.shape == up.shape && gate.dtype == up.dtype && gate.packed == up.packed)
      << gate.shape << " " << up.shape;
  return DoPackGatedLinear(gate, up, gate.packed == WeightFormat::kAsStored ? format : gate.packed);
}

std::unique_ptr<LatentWeight> Ops::PackLatent(const TensorView& kv_b,
                                              const LatentWeight::Dims& dims) {
  CheckWeight("kv_b", kv_b);
  const int64_t rows = dims.num_heads * (dims.qk_nope_head_dim + dims.v_head_dim);
  VL2_CHECK(kv_b.shape == Shape({rows, dims.kv_lora_rank}))
      << kv_b.shape << " expected [" << rows << ", " << dims.kv_lora_rank << "]";
  return DoPackLatent(kv_b, dims);
}

std::unique_ptr<MoeWeight> Ops::PackExperts(const MoeWeight::Dims& dims, const LoadExpert& load,
                                            WeightFormat format) {
  VL2_CHECK(dims.num_experts >= 1 && dims.hidden >= 1 && dims.width >= 1 && dims.shared_width >= 0);
  const LoadExpert checked = [&](int64_t index) {
    const ExpertTensors tensors = load(index);
    const int64_t width = index < dims.num_experts ? dims.width : dims.shared_width;
    CheckWeight("gate", tensors.gate);
    CheckWeight("up", tensors.up);
    CheckWeight("down", tensors.down);
    VL2_CHECK(tensors.gate.shape == Shape({width, dims.hidden}) &&
              tensors.up.shape == tensors.gate.shape && tensors.up.dtype == tensors.gate.dtype &&
              tensors.up.packed == tensors.gate.packed &&
              tensors.down.shape == Shape({dims.hidden, width}))
        << "expert " << index << ": gate " << tensors.gate.shape << ", up " << tensors.up.shape
        << ", down " << tensors.down.shape << ", expected width " << width << " of " << dims.hidden;
    return tensors;
  };
  return DoPackExperts(dims, checked, format);
}

std::unique_ptr<PagedCache> Ops::MakeCache(const CacheShape& shape, int64_t num_blocks) {
  VL2_CHECK(num_blocks >= 1 && shape.num_layers >= 1 && shape.key_width() >= 1)
      << num_blocks << " blocks, " << shape.num_layers << " layers of " << shape.key_width();
  VL2_CHECK(shape.dtype == DType::kF32 || shape.dtype == DType::kBF16) << Name(shape.dtype);
  return std::make_unique<PagedCache>(device_, shape, num_blocks, CacheLayerBytes(shape));
}

void Ops::SetBatch(const BatchRows& rows, Batch* batch) {
  batch->Set(rows);
  DoSetBatch(batch);
}

void Ops::Linear(const LinearArgs& args) {
  const Checks check{device_};
  VL2_CHECK(args.weight != nullptr);
  check.Matrix("x", args.x, args.x.rows, args.weight->in_features());
  check.Matrix("out", args.out, args.x.rows, args.weight->out_features());
  check.Vector("bias", args.bias, args.out.cols, false);
  if (!args.residual.empty()) {
    check.Matrix("residual", args.residual, args.residual.rows, args.out.cols);
    VL2_CHECK(args.x.rows == 0 || (args.residual.rows > 0 && args.x.rows % args.residual.rows == 0))
        << args.residual.rows << " residual rows for " << args.x.rows;
  }
  if (args.x.rows > 0) DoLinear(args);
}

void Ops::GatedLinear(const GatedLinearArgs& args) {
  const Checks check{device_};
  VL2_CHECK(args.weight != nullptr);
  check.Matrix("x", args.x, args.x.rows, args.weight->in_features());
  check.Matrix("out", args.out, args.x.rows, args.weight->out_features());
  if (args.x.rows > 0) DoGatedLinear(args);
}

void Ops::RmsNorm(const RmsNormArgs& args) {
  const Checks check{device_};
  check.Matrix("x", args.x, args.x.rows, args.x.cols);
  check.Matrix("out", args.out, args.x.rows, args.x.cols);
  check.Vector("weight", args.weight, args.x.cols, true);
  if (args.x.rows > 0) DoRmsNorm(args);
}

void Ops::LayerNorm(const LayerNormArgs& args) {
  const Checks check{device_};
  check.Matrix("x", args.x, args.x.rows, args.x.cols);
  check.Matrix("out", args.out, args.x.rows, args.x.cols);
  check.Vector("weight", args.weight, args.x.cols, true);
  check.Vector("bias", args.bias, args.x.cols, true);
  if (args.x.rows > 0) DoLayerNorm(args);
}

void Ops::Rotary(const RotaryArgs& args) {
  const Checks check{device_};
  VL2_CHECK(args.table != nullptr && args.num_heads >= 1);
  const int64_t dim = args.table->dim;
  check.Matrix("x", args.x, args.x.rows, args.x.cols);
  VL2_CHECK(dim > 0 && dim % 2 == 0 && args.offset >= 0 &&
            args.offset + (args.num_heads - 1) * args.head_stride + dim <= args.x.cols)
      << "dim " << dim << " offset " << args.offset << " heads " << args.num_heads << " stride "
      << args.head_stride << " in " << args.x.cols << " columns";
  check.Batch(args.batch, args.x.rows);
  const ConstMatrix cos = args.table->cos.matrix();
  check.Matrix("cos", cos, cos.rows, dim / 2);
  check.Matrix("sin", args.table->sin.matrix(), cos.rows, dim / 2);
  VL2_CHECK(args.batch->limits().max_positions <= cos.rows)
      << "positions below " << args.batch->limits().max_positions << ", the table ends at "
      << cos.rows;
  if (args.x.rows > 0) DoRotary(args);
}

void Ops::Embed(const EmbedArgs& args) {
  const Checks check{device_};
  VL2_CHECK(args.table != nullptr && args.table->shape().rank() == 2 &&
            (args.table->dtype() == DType::kBF16 || args.table->dtype() == DType::kF32));
  const Shape& shape = args.table->shape();
  check.Matrix("table", args.table->matrix(), shape[0], shape[1], args.table->dtype());
  check.Matrix("out", args.out, args.out.rows, shape[1]);
  check.Batch(args.batch, args.out.rows);
  VL2_CHECK(static_cast<int64_t>(args.batch->ids().size()) == args.out.rows &&
            args.batch->limits().vocab_size <= shape[0])
      << args.batch->ids().size() << " ids below " << args.batch->limits().vocab_size
      << " for a table of " << shape[0];
  if (args.out.rows > 0) DoEmbed(args);
}

void Ops::WriteRows(const WriteRowsArgs& args) {
  const Checks check{device_};
  CheckHostMatrix("values", args.values, args.values.rows, args.values.cols);
  check.Matrix("out", args.out, args.values.rows, args.values.cols);
  FromHost(args.values, args.out);
}

void Ops::TakeRows(const TakeRowsArgs& args) {
  const Checks check{device_};
  check.Matrix("x", args.x, args.x.rows, args.x.cols);
  check.Batch(args.batch, args.x.rows);
  const auto rows = static_cast<int64_t>(args.batch->logit_rows().size());
  check.Matrix("out", args.out, rows, args.x.cols);
  if (rows > 0) DoTakeRows(args);
}

void Ops::Route(const RouteArgs& args) {
  const Checks check{device_};
  VL2_CHECK(args.weight != nullptr && args.config != nullptr);
  const RouterConfig& config = *args.config;
  check.Matrix("x", args.x, args.x.rows, args.x.cols);
  VL2_CHECK(args.weight->out_features() == config.num_experts &&
            args.weight->in_features() == args.x.cols)
      << "weight [" << args.weight->out_features() << ", " << args.weight->in_features() << "]";
  VL2_CHECK(config.top_k >= 1 && config.top_k <= config.num_experts &&
            config.top_k <= RouterConfig::kMaxTopK &&
            config.num_experts <= RouterConfig::kMaxExperts && config.num_groups >= 1 &&
            config.num_experts % config.num_groups == 0 && config.topk_group >= 1 &&
            config.topk_group <= config.num_groups)
      << config.top_k << " of " << config.num_experts << " experts, " << config.topk_group << " of "
      << config.num_groups << " groups";
  const bool biased = config.topk_method == TopkMethod::kNoAuxTc;
  VL2_CHECK((args.correction_bias != nullptr) == biased);
  check.Vector("correction_bias", args.correction_bias, config.num_experts, biased);
  check.Matrix("expert_ids", args.expert_ids, args.x.rows, config.top_k, DType::kI32);
  check.Matrix("expert_weights", args.expert_weights, args.x.rows, config.top_k);
  if (args.x.rows > 0) DoRoute(args);
}

void Ops::Moe(const MoeArgs& args) {
  const Checks check{device_};
  VL2_CHECK(args.weight != nullptr);
  check.Matrix("x", args.x, args.x.rows, args.weight->dims().hidden);
  check.Matrix("residual", args.residual, args.x.rows, args.x.cols);
  check.Matrix("out", args.out, args.x.rows, args.x.cols);
  check.Matrix("expert_ids", args.expert_ids, args.x.rows, args.expert_ids.cols, DType::kI32);
  check.Matrix("expert_weights", args.expert_weights, args.x.rows, args.expert_ids.cols);
  if (args.x.rows > 0) DoMoe(args);
}

void Ops::WriteKeysValues(const WriteKeysValuesArgs& args) {
  const Checks check{device_};
  check.Batch(args.batch, args.keys.rows);
  check.Matrix("keys", args.keys, args.keys.rows, args.num_kv_heads * args.head_dim);
  check.Matrix("values", args.values, args.keys.rows, args.num_kv_heads * args.head_dim);
  check.Cache(args.cache, *args.batch);
  if (args.keys.rows > 0) DoWriteKeysValues(args);
}

void Ops::WriteLatents(const WriteLatentsArgs& args) {
  const Checks check{device_};
  check.Batch(args.batch, args.latents.rows);
  check.Matrix("latents", args.latents, args.latents.rows, args.latents.cols);
  check.Cache(args.cache, *args.batch);
  if (args.latents.rows > 0) DoWriteLatents(args);
}

void Ops::CopyBlock(const PagedCache& cache, int32_t from, int32_t to) {
  VL2_CHECK(from >= 0 && from < cache.num_blocks() && to >= 0 && to < cache.num_blocks())
      << from << " to " << to << " of " << cache.num_blocks();
  std::byte* memory = cache.memory().bytes();
  device_.Copy(memory + to * cache.block_bytes(), memory + from * cache.block_bytes(),
               static_cast<size_t>(cache.block_bytes()));
}

void Ops::ReadCache(const ReadCacheArgs& args) {
  VL2_CHECK(args.cache != nullptr);
  const CacheShape& shape = args.cache->shape();
  const auto rows = static_cast<int64_t>(args.positions.size());
  CheckHostMatrix("keys", args.keys, rows, shape.key_width());
  if (!shape.latent()) CheckHostMatrix("values", args.values, rows, shape.key_width());
  for (const int64_t position : args.positions) {
    VL2_CHECK(position >= 0 &&
              position / kBlockTokens < static_cast<int64_t>(args.block_table.size()))
        << "position " << position << " with " << args.block_table.size() << " blocks";
  }
  if (rows > 0) DoReadCache(args);
}

void Ops::CausalAttention(const CausalAttentionArgs& args) {
  const Checks check{device_};
  check.Batch(args.batch, args.q.rows);
  VL2_CHECK(args.num_kv_heads >= 1 && args.num_heads % args.num_kv_heads == 0)
      << args.num_heads << " heads, " << args.num_kv_heads << " key heads";
  check.Matrix("q", args.q, args.q.rows, args.num_heads * args.head_dim);
  check.Matrix("out", args.out, args.q.rows, args.num_heads * args.head_dim);
  check.Cache(args.cache, *args.batch);
  if (args.q.rows > 0) DoCausalAttention(args);
}

void Ops::LatentAttention(const LatentAttentionArgs& args) {
  const Checks check{device_};
  VL2_CHECK(args.weight != nullptr);
  const LatentWeight::Dims& dims = args.weight->dims();
  check.Batch(args.batch, args.q.rows);
  check.Matrix("q", args.q, args.q.rows,
               dims.num_heads * (dims.qk_nope_head_dim + dims.qk_rope_head_dim));
  check.Matrix("out", args.out, args.q.rows, dims.num_heads * dims.v_head_dim);
  check.Cache(args.cache, *args.batch);
  if (args.q.rows > 0) DoLatentAttention(args);
}

void Ops::FullAttention(const FullAttentionArgs& args) {
  const Checks check{device_};
  const int64_t rows = args.num_tiles * args.tokens_per_tile;
  const int64_t width = args.num_heads * args.head_dim;
  check.Matrix("qkv", args.qkv, rows, 3 * width);
  check.Matrix("out", args.out, rows, width);
  if (rows > 0) DoFullAttention(args);
}

void Ops::ExtractPatches(const ExtractPatchesArgs& args) {
  const Checks check{device_};
  VL2_CHECK(args.patch_size >= 1 && args.image_size >= args.patch_size && args.table != nullptr)
      << "patches of " << args.patch_size << " in " << args.image_size;
  const int64_t grid = args.image_size / args.patch_size;
  check.Matrix("out", args.out, static_cast<int64_t>(args.tiles.size()) * grid * grid,
               3 * args.patch_size * args.patch_size);
  if (!args.tiles.empty()) DoExtractPatches(args);
}

void Ops::SpaceToDepth(const SpaceToDepthArgs& args) {
  const Checks check{device_};
  VL2_CHECK(args.side >= 1 && args.ratio >= 1);
  const int64_t out_side = (args.side + args.ratio - 1) / args.ratio;
  check.Matrix("x", args.x, args.num_tiles * args.side * args.side, args.x.cols);
  check.Matrix("out", args.out, args.num_tiles * out_side * out_side,
               args.x.cols * args.ratio * args.ratio);
  if (args.num_tiles > 0) DoSpaceToDepth(args);
}

}  // namespace vl2
