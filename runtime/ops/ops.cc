#include "runtime/ops/ops.h"

namespace vl2 {
namespace {

// One message shape for all checks: what was found, what was expected.
template <typename T>
void CheckMatrix(const char* name, const MatrixView<T>& matrix, int64_t rows, int64_t cols) {
  VL2_CHECK(matrix.rows == rows && matrix.cols == cols && matrix.stride >= matrix.cols)
      << name << " is [" << matrix.rows << ", " << matrix.cols << "] stride " << matrix.stride
      << ", expected [" << rows << ", " << cols << "]";
}

void CheckWeight(const char* name, const TensorView& weight) {
  VL2_CHECK(weight.shape.rank() == 2 && weight.bytes != nullptr &&
            (weight.dtype == DType::kBF16 || weight.dtype == DType::kF32))
      << name << " is " << weight.shape << " " << Name(weight.dtype);
}

void CheckSequences(std::span<const SequenceRows> sequences, int64_t num_tokens) {
  int64_t next = 0;
  for (const SequenceRows& sequence : sequences) {
    VL2_CHECK(sequence.first_row == next && sequence.num_rows >= 1 &&
              sequence.first_position >= 0 && sequence.block_table != nullptr)
        << "first_row " << sequence.first_row << " expected " << next << ", num_rows "
        << sequence.num_rows;
    next += sequence.num_rows;
  }
  VL2_CHECK(next == num_tokens) << "sequences cover " << next << " rows of " << num_tokens;
}

void CheckExpert(const ExpertWeights& expert, int64_t hidden) {
  VL2_CHECK(expert.gate_up != nullptr && expert.down != nullptr);
  VL2_CHECK(expert.gate_up->in_features() == hidden && expert.down->out_features() == hidden &&
            expert.gate_up->out_features() == expert.down->in_features())
      << "hidden " << hidden << ", gate_up [" << expert.gate_up->out_features() << ", "
      << expert.gate_up->in_features() << "], down [" << expert.down->out_features() << ", "
      << expert.down->in_features() << "]";
}

}  // namespace

std::unique_ptr<LinearWeight> Ops::PackLinear(std::span<const TensorView> parts) {
  VL2_CHECK(!parts.empty());
  for (const TensorView& part : parts) {
    CheckWeight("weight", part);
    VL2_CHECK(part.shape[1] == parts[0].shape[1] && part.dtype == parts[0].dtype)
        << part.shape << " " << Name(part.dtype) << " joined with " << parts[0].shape << " "
        << Name(parts[0].dtype);
  }
  return DoPackLinear(parts);
}

std::unique_ptr<GatedLinearWeight> Ops::PackGatedLinear(const TensorView& gate,
                                                        const TensorView& up) {
  CheckWeight("gate", gate);
  CheckWeight("up", up);
  VL2_CHECK(gate.shape == up.shape && gate.dtype == up.dtype) << gate.shape << " " << up.shape;
  return DoPackGatedLinear(gate, up);
}

std::unique_ptr<LatentWeight> Ops::PackLatent(const TensorView& kv_b,
                                              const LatentWeight::Dims& dims) {
  CheckWeight("kv_b", kv_b);
  const int64_t rows = dims.num_heads * (dims.qk_nope_head_dim + dims.v_head_dim);
  VL2_CHECK(kv_b.shape == Shape({rows, dims.kv_lora_rank}))
      << kv_b.shape << " expected [" << rows << ", " << dims.kv_lora_rank << "]";
  return DoPackLatent(kv_b, dims);
}

void Ops::Linear(const LinearArgs& args) {
  VL2_CHECK(args.weight != nullptr);
  CheckMatrix("x", args.x, args.x.rows, args.weight->in_features());
  CheckMatrix("out", args.out, args.x.rows, args.weight->out_features());
  if (args.residual.data != nullptr) {
    CheckMatrix("residual", args.residual, args.residual.rows, args.out.cols);
    VL2_CHECK(args.x.rows == 0 || (args.residual.rows > 0 && args.x.rows % args.residual.rows == 0))
        << args.residual.rows << " residual rows for " << args.x.rows;
  }
  if (args.x.rows > 0) DoLinear(args);
}

void Ops::GatedLinear(const GatedLinearArgs& args) {
  VL2_CHECK(args.weight != nullptr);
  CheckMatrix("x", args.x, args.x.rows, args.weight->in_features());
  CheckMatrix("out", args.out, args.x.rows, args.weight->out_features());
  if (args.x.rows > 0) DoGatedLinear(args);
}

void Ops::RmsNorm(const RmsNormArgs& args) {
  VL2_CHECK(args.weight != nullptr);
  CheckMatrix("out", args.out, args.x.rows, args.x.cols);
  if (args.x.rows > 0) DoRmsNorm(args);
}

void Ops::LayerNorm(const LayerNormArgs& args) {
  VL2_CHECK(args.weight != nullptr && args.bias != nullptr);
  CheckMatrix("out", args.out, args.x.rows, args.x.cols);
  if (args.x.rows > 0) DoLayerNorm(args);
}

void Ops::Rotary(const RotaryArgs& args) {
  VL2_CHECK(args.table != nullptr && args.num_heads >= 1);
  const int64_t dim = args.table->dim;
  VL2_CHECK(dim > 0 && dim % 2 == 0 && args.offset >= 0 &&
            args.offset + (args.num_heads - 1) * args.head_stride + dim <= args.x.cols)
      << "dim " << dim << " offset " << args.offset << " heads " << args.num_heads << " stride "
      << args.head_stride << " in " << args.x.cols << " columns";
  const auto num_positions = static_cast<int64_t>(args.table->cos.size()) / (dim / 2);
  for (int64_t token = 0; token < args.x.rows; ++token) {
    VL2_CHECK(args.positions[token] >= 0 && args.positions[token] < num_positions)
        << "position " << args.positions[token] << " of " << num_positions;
  }
  if (args.x.rows > 0) DoRotary(args);
}

void Ops::Embed(const EmbedArgs& args) {
  CheckWeight("table", args.table);
  CheckMatrix("out", args.out, args.out.rows, args.table.shape[1]);
  for (int64_t token = 0; token < args.out.rows; ++token) {
    VL2_CHECK(args.ids[token] >= 0 && args.ids[token] < args.table.shape[0])
        << "id " << args.ids[token] << " of " << args.table.shape[0];
  }
  if (args.out.rows > 0) DoEmbed(args);
}

void Ops::Route(const RouteArgs& args) {
  VL2_CHECK(args.weight != nullptr && args.config != nullptr);
  const RouterConfig& config = *args.config;
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
  VL2_CHECK((args.correction_bias != nullptr) == (config.topk_method == TopkMethod::kNoAuxTc));
  if (args.x.rows > 0) DoRoute(args);
}

void Ops::Moe(const MoeArgs& args) {
  CheckMatrix("residual", args.residual, args.x.rows, args.x.cols);
  CheckMatrix("out", args.out, args.x.rows, args.x.cols);
  for (const ExpertWeights& expert : args.experts) CheckExpert(expert, args.x.cols);
  if (args.shared.gate_up != nullptr) CheckExpert(args.shared, args.x.cols);
  const auto num_experts = static_cast<int32_t>(args.experts.size());
  for (int64_t i = 0; i < args.x.rows * args.top_k; ++i) {
    const int32_t id = args.expert_ids[i];
    VL2_CHECK(id >= 0 && id < num_experts && (i % args.top_k == 0 || args.expert_ids[i - 1] < id))
        << "expert " << id << " of " << num_experts << " at " << i;
  }
  if (args.x.rows > 0) DoMoe(args);
}

void Ops::WriteKeysValues(const WriteKeysValuesArgs& args) {
  CheckSequences(args.sequences, args.keys.rows);
  CheckMatrix("keys", args.keys, args.keys.rows, args.num_kv_heads * args.head_dim);
  CheckMatrix("values", args.values, args.keys.rows, args.num_kv_heads * args.head_dim);
  if (args.keys.rows > 0) DoWriteKeysValues(args);
}

void Ops::WriteLatents(const WriteLatentsArgs& args) {
  CheckSequences(args.sequences, args.latents.rows);
  if (args.latents.rows > 0) DoWriteLatents(args);
}

void Ops::CausalAttention(const CausalAttentionArgs& args) {
  CheckSequences(args.sequences, args.q.rows);
  VL2_CHECK(args.num_kv_heads >= 1 && args.num_heads % args.num_kv_heads == 0)
      << args.num_heads << " heads, " << args.num_kv_heads << " key heads";
  CheckMatrix("q", args.q, args.q.rows, args.num_heads * args.head_dim);
  CheckMatrix("out", args.out, args.q.rows, args.num_heads * args.head_dim);
  if (args.q.rows > 0) DoCausalAttention(args);
}

void Ops::LatentAttention(const LatentAttentionArgs& args) {
  VL2_CHECK(args.weight != nullptr);
  const LatentWeight::Dims& dims = args.weight->dims();
  CheckSequences(args.sequences, args.q.rows);
  CheckMatrix("q", args.q, args.q.rows,
              dims.num_heads * (dims.qk_nope_head_dim + dims.qk_rope_head_dim));
  CheckMatrix("out", args.out, args.q.rows, dims.num_heads * dims.v_head_dim);
  if (args.q.rows > 0) DoLatentAttention(args);
}

void Ops::FullAttention(const FullAttentionArgs& args) {
  const int64_t rows = args.num_tiles * args.tokens_per_tile;
  const int64_t width = args.num_heads * args.head_dim;
  CheckMatrix("qkv", args.qkv, rows, 3 * width);
  CheckMatrix("out", args.out, rows, width);
  if (rows > 0) DoFullAttention(args);
}

void Ops::SpaceToDepth(const SpaceToDepthArgs& args) {
  VL2_CHECK(args.side >= 1 && args.ratio >= 1);
  const int64_t out_side = (args.side + args.ratio - 1) / args.ratio;
  CheckMatrix("x", args.x, args.num_tiles * args.side * args.side, args.x.cols);
  CheckMatrix("out", args.out, args.num_tiles * out_side * out_side,
              args.x.cols * args.ratio * args.ratio);
  if (args.num_tiles > 0) DoSpaceToDepth(args);
}

}  // namespace vl2
