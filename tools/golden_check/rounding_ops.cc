#include "tools/golden_check/rounding_ops.h"

#include <utility>

#include "runtime/ops/forwarding_ops.h"

namespace vl2 {
namespace {

// The cache holds what it is given, which is rounded already; Route's weights stay as published.
class RoundingOps final : public ForwardingOps {
 public:
  using ForwardingOps::ForwardingOps;
  std::string_view name() const override { return "bf16 activations"; }

 private:
  void After(Matrix out) override {
    const HostMatrix values = out.Floats();
    for (int64_t r = 0; r < values.rows; ++r) {
      float* row = values.row(r);
      for (int64_t c = 0; c < values.cols; ++c) row[c] = ToFloat(ToBFloat16(row[c]));
    }
  }
};

}  // namespace

std::unique_ptr<Ops> MakeRoundingOps(std::unique_ptr<Ops> inner) {
  VL2_CHECK(inner->device().host_access()) << inner->device().name();
  return std::make_unique<RoundingOps>(std::move(inner));
}

}  // namespace vl2
