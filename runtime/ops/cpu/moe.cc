#include "runtime/ops/moe.h"

#include <algorithm>

#include "runtime/ops/cpu/cpu_ops.h"
#include "runtime/ops/cpu/moe_weight.h"
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
  const ConstHostMatrix all_weights = args.expert_weights.Floats();
  const ConstHostMatrix all_residuals = args.residual.Floats();
  const HostMatrix all_out = args.out.Floats();
  const int64_t hidden = all_out.cols;
  const auto top_k = static_cast<int>(all_weights.cols);
  for (int64_t token = first; token < last; ++token) {
    const float* weights = all_weights.row(token);
    const float* experts = outputs + token * top_k * hidden;
    const float* shared_row = shared != nullptr ? shared + token * hidden : nullptr;
    const float* residual = all_residuals.row(token);
    float* out = all_out.row(token);
    for (int64_t col = 0; col < hidden; col += lanes) {
      const float* shared_at = shared_row != nullptr ? shared_row + col : nullptr;
      const int64_t count = hidden - col;
      if (count >= lanes) {
        hn::StoreU(CombineVector(weights, top_k, experts + col, hidden, shared_at, residual + col,
                                 LoadWhole()),
                   DF(), out + col);
      } else {
        StorePart(CombineVector(weights, top_k, experts + col, hidden, shared_at, residual + col,
                                LoadSome{count}),
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

// Counting sort of the (token, choice) pairs by expert; tokens stay in order.
void GroupByExpert(MatrixView<const int32_t> ids, int64_t num_experts, MoePlan* plan) {
  plan->first.assign(static_cast<size_t>(num_experts) + 1, 0);
  for (int64_t token = 0; token < ids.rows; ++token) {
    for (int64_t k = 0; k < ids.cols; ++k)
      ++plan->first[static_cast<size_t>(ids.row(token)[k]) + 1];
  }
  for (size_t e = 0; e + 1 < plan->first.size(); ++e) plan->first[e + 1] += plan->first[e];
  plan->tokens.resize(static_cast<size_t>(ids.rows * ids.cols));
  plan->slots.resize(plan->tokens.size());
  for (int64_t token = 0; token < ids.rows; ++token) {
    for (int64_t k = 0; k < ids.cols; ++k) {
      // first[e] runs to the end of expert e's pairs here …
      const auto at = static_cast<size_t>(plan->first[static_cast<size_t>(ids.row(token)[k])]++);
      plan->tokens[at] = static_cast<int32_t>(token);
      plan->slots[at] = static_cast<int32_t>(token * ids.cols + k);
    }
  }
  // … and is put back.
  for (size_t e = plan->first.size() - 1; e > 0; --e) plan->first[e] = plan->first[e - 1];
  plan->first[0] = 0;
}

}  // namespace

std::unique_ptr<MoeWeight> CpuOps::DoPackExperts(const MoeWeight::Dims& dims,
                                                 const LoadExpert& load, WeightFormat format) {
  return std::make_unique<CpuMoeWeight>(dims, load, pool_, format);
}

void CpuOps::DoMoe(const MoeArgs& args) {
  const auto& weight = *static_cast<const CpuMoeWeight*>(args.weight);
  const MoeWeight::Dims& dims = weight.dims();
  const int64_t hidden = dims.hidden;
  const WeightFormat format = weight.gate_up(0).format();
  // Rounded once a token, then gathered by the experts.
  const ConstHostMatrix x = RowsFor(format, args.x.Floats(), pool_, &moe_.x_rows);
  const MatrixView<const int32_t> ids = args.expert_ids.As<int32_t>();
  CheckExpertIds(ids, dims.num_experts);
  GroupByExpert(ids, dims.num_experts, &moe_);
  const int64_t num_pairs = x.rows * ids.cols;
  const HostMatrix inner = moe_.inner.Resize(1, num_pairs * dims.width);
  const HostMatrix outputs = moe_.outputs.Resize(num_pairs, hidden);
  const bool has_shared = dims.shared_width > 0;
  const HostMatrix shared_inner = moe_.shared_inner.Resize(x.rows, dims.shared_width);
  const HostMatrix shared = moe_.shared.Resize(has_shared ? x.rows : 0, hidden);

  moe_.tasks.clear();
  if (has_shared) {
    moe_.tasks.push_back({.x = x.data,
                          .x_stride = x.stride,
                          .num_rows = x.rows,
                          .weights = &weight.gate_up(dims.num_experts),
                          .num_out = dims.shared_width,
                          .gated = true,
                          .out = shared_inner.data,
                          .out_stride = dims.shared_width});
  }
  int64_t offset = 0;
  for (int64_t e = 0; e < dims.num_experts; ++e) {
    const int32_t first = moe_.first[static_cast<size_t>(e)];
    const int64_t num_rows = moe_.first[static_cast<size_t>(e) + 1] - first;
    if (num_rows == 0) continue;
    moe_.tasks.push_back({.x = x.data,
                          .x_stride = x.stride,
                          .x_rows = moe_.tokens.data() + first,
                          .num_rows = num_rows,
                          .weights = &weight.gate_up(e),
                          .num_out = dims.width,
                          .gated = true,
                          .out = inner.data + offset,
                          .out_stride = dims.width});
    offset += num_rows * dims.width;
  }
  matmul_.Run(moe_.tasks);

  // The same tasks again for the way down: what was written is read.
  const ConstHostMatrix inner_rows =
      RowsFor(weight.down(0).format(), ConstHostMatrix{inner.data, num_pairs, dims.width}, pool_,
              &moe_.inner_rows);
  const ConstHostMatrix shared_rows =
      RowsFor(weight.down(0).format(), shared_inner, pool_, &moe_.shared_rows);
  size_t task = 0;
  const auto down = [&](int64_t expert, const float* rows, int64_t stride, float* out,
                        const int32_t* out_rows) {
    MatmulTask& t = moe_.tasks[task++];
    t = {.x = rows,
         .x_stride = stride,
         .num_rows = t.num_rows,
         .weights = &weight.down(expert),
         .num_out = hidden,
         .out = out,
         .out_stride = hidden,
         .out_rows = out_rows};
  };
  if (has_shared)
    down(dims.num_experts, shared_rows.data, shared_rows.stride, shared.data, nullptr);
  for (int64_t e = 0; e < dims.num_experts; ++e) {
    const int32_t first = moe_.first[static_cast<size_t>(e)];
    if (moe_.first[static_cast<size_t>(e) + 1] == first) continue;
    down(e, inner_rows.row(first), inner_rows.stride, outputs.data, moe_.slots.data() + first);
  }
  matmul_.Run(moe_.tasks);

  const auto combine = HWY_DYNAMIC_DISPATCH(CombineRows);
  ForRowBlocks(pool_, x.rows, (ids.cols + 3) * hidden, [&](int64_t first, int64_t last) {
    combine(args, outputs.data, has_shared ? shared.data : nullptr, first, last);
  });
}

}  // namespace vl2
#endif  // HWY_ONCE
