#include "runtime/ops/moe.h"

#include <algorithm>

#include "runtime/ops/cpu/cpu_ops.h"
#include "runtime/ops/cpu/moe.h"
#include "runtime/ops/cpu/packed_weights.h"
#include "runtime/ops/cpu/row_blocks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/moe.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "runtime/ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {

// One vector of: residual + ((w_0·E_0 + w_1·E_1 + …) + shared); Load and Store take a pointer.
template <class Load>
HWY_INLINE VF CombineVector(const float* weights, int top_k, const float* experts, int64_t hidden,
                            const float* shared, const float* residual, const Load& load) {
  const DF d;
  VF sum = hn::Zero(d);
  for (int choice = 0; choice < top_k; ++choice) {
    sum = hn::MulAdd(load(experts + choice * hidden), hn::Set(d, weights[choice]), sum);
  }
  if (shared != nullptr) sum = hn::Add(sum, load(shared));
  return hn::Add(load(residual), sum);
}

struct LoadWhole {
  HWY_INLINE VF operator()(const float* from) const { return hn::LoadU(DF(), from); }
};
struct LoadSome {
  int64_t count;
  HWY_INLINE VF operator()(const float* from) const { return LoadPart(from, count); }
};

void CombineRows(const MoeArgs& args, const float* outputs, const float* shared, int64_t first,
                 int64_t last) {
  const auto lanes = static_cast<int64_t>(kVectorLanes);
  const int64_t hidden = args.x.cols;
  for (int64_t token = first; token < last; ++token) {
    const float* weights = args.expert_weights + token * args.top_k;
    const float* experts = outputs + token * args.top_k * hidden;
    const float* shared_row = shared != nullptr ? shared + token * hidden : nullptr;
    const float* residual = args.residual.row(token);
    float* out = args.out.row(token);
    for (int64_t col = 0; col < hidden; col += lanes) {
      const float* shared_at = shared_row != nullptr ? shared_row + col : nullptr;
      const int64_t count = hidden - col;
      if (count >= lanes) {
        hn::StoreU(CombineVector(weights, args.top_k, experts + col, hidden, shared_at,
                                 residual + col, LoadWhole()),
                   DF(), out + col);
      } else {
        StorePart(CombineVector(weights, args.top_k, experts + col, hidden, shared_at,
                                residual + col, LoadSome{count}),
                  out + col, count);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vl2 {
namespace {

HWY_EXPORT(CombineRows);

const PackedWeights* Panels(const GatedLinearWeight* weight) {
  return &static_cast<const CpuGatedLinearWeight*>(weight)->panels();
}
const PackedWeights* Panels(const LinearWeight* weight) {
  return &static_cast<const CpuLinearWeight*>(weight)->panels();
}

// Counting sort of the (token, choice) pairs by expert; tokens stay in order.
void GroupByExpert(const MoeArgs& args, MoePlan* plan) {
  const int64_t num_pairs = args.x.rows * args.top_k;
  plan->first.assign(args.experts.size() + 1, 0);
  for (int64_t i = 0; i < num_pairs; ++i) {
    ++plan->first[static_cast<size_t>(args.expert_ids[i]) + 1];
  }
  for (size_t e = 0; e < args.experts.size(); ++e) plan->first[e + 1] += plan->first[e];
  plan->tokens.resize(static_cast<size_t>(num_pairs));
  plan->slots.resize(static_cast<size_t>(num_pairs));
  for (int64_t i = 0; i < num_pairs; ++i) {
    // first[e] runs to the end of expert e's pairs here …
    const auto at = static_cast<size_t>(plan->first[static_cast<size_t>(args.expert_ids[i])]++);
    plan->tokens[at] = static_cast<int32_t>(i / args.top_k);
    plan->slots[at] = static_cast<int32_t>(i);
  }
  // … and is put back.
  for (size_t e = args.experts.size(); e > 0; --e) plan->first[e] = plan->first[e - 1];
  plan->first[0] = 0;
}

}  // namespace

void CpuOps::DoMoe(const MoeArgs& args) {
  const int64_t hidden = args.x.cols;
  GroupByExpert(args, &moe_);
  int64_t inner_floats = 0;
  for (size_t e = 0; e < args.experts.size(); ++e) {
    inner_floats += (moe_.first[e + 1] - moe_.first[e]) * args.experts[e].down->in_features();
  }
  const Matrix inner = moe_.inner.Resize(1, inner_floats);
  const Matrix outputs = moe_.outputs.Resize(args.x.rows * args.top_k, hidden);
  const bool has_shared = args.shared.gate_up != nullptr;
  const int64_t shared_width = has_shared ? args.shared.down->in_features() : 0;
  const Matrix shared_inner = moe_.shared_inner.Resize(args.x.rows, shared_width);
  const Matrix shared = moe_.shared.Resize(has_shared ? args.x.rows : 0, hidden);

  moe_.tasks.clear();
  if (has_shared) {
    moe_.tasks.push_back({.x = args.x.data,
                          .x_stride = args.x.stride,
                          .num_rows = args.x.rows,
                          .weights = Panels(args.shared.gate_up),
                          .num_out = shared_width,
                          .gated = true,
                          .out = shared_inner.data,
                          .out_stride = shared_width});
  }
  int64_t offset = 0;
  for (size_t e = 0; e < args.experts.size(); ++e) {
    const int64_t num_rows = moe_.first[e + 1] - moe_.first[e];
    if (num_rows == 0) continue;
    const int64_t width = args.experts[e].down->in_features();
    moe_.tasks.push_back({.x = args.x.data,
                          .x_stride = args.x.stride,
                          .x_rows = moe_.tokens.data() + moe_.first[e],
                          .num_rows = num_rows,
                          .weights = Panels(args.experts[e].gate_up),
                          .num_out = width,
                          .gated = true,
                          .out = inner.data + offset,
                          .out_stride = width});
    offset += num_rows * width;
  }
  matmul_.Run(moe_.tasks);

  // The same tasks again for the way down: what was written is read.
  size_t task = 0;
  const auto down = [&](const ExpertWeights& expert, float* out, const int32_t* out_rows) {
    MatmulTask& t = moe_.tasks[task++];
    t = {.x = t.out,
         .x_stride = t.out_stride,
         .num_rows = t.num_rows,
         .weights = Panels(expert.down),
         .num_out = hidden,
         .out = out,
         .out_stride = hidden,
         .out_rows = out_rows};
  };
  if (has_shared) down(args.shared, shared.data, nullptr);
  for (size_t e = 0; e < args.experts.size(); ++e) {
    if (moe_.first[e + 1] == moe_.first[e]) continue;
    down(args.experts[e], outputs.data, moe_.slots.data() + moe_.first[e]);
  }
  matmul_.Run(moe_.tasks);

  const auto combine = HWY_DYNAMIC_DISPATCH(CombineRows);
  ForRowBlocks(pool_, args.x.rows, (args.top_k + 3) * hidden, [&](int64_t first, int64_t last) {
    combine(args, outputs.data, has_shared ? shared.data : nullptr, first, last);
  });
}

}  // namespace vl2
#endif  // HWY_ONCE
