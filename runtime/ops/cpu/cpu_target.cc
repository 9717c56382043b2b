#include "runtime/ops/cpu/cpu_target.h"

#include <algorithm>

#include "absl/strings/str_join.h"
#include "hwy/highway.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

// Every target of HWY_TARGETS that this machine supports, best (lowest bit) first.
std::vector<int64_t> AvailableBits() {
  hwy::SetSupportedTargetsForTest(0);
  std::vector<int64_t> bits;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) bits.push_back(target);
  return bits;
}

// What SelectCpuTarget chose; 0: the best.
int64_t selected_target = 0;

void Apply() {
  // Files that have no form of their own for AVX3_DL take AVX3's.
  const int64_t with = selected_target == HWY_AVX3_DL ? HWY_AVX3 : 0;
  hwy::SetSupportedTargetsForTest(selected_target | with);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace

std::vector<std::string> AvailableCpuTargets() {
  std::vector<std::string> names;
  for (const int64_t target : AvailableBits()) names.emplace_back(hwy::TargetName(target));
  Apply();
  return names;
}

std::string CpuTarget() {
  return selected_target != 0 ? hwy::TargetName(selected_target) : AvailableCpuTargets().front();
}

void SelectCpuTarget(std::string_view name) {
  selected_target = 0;
  for (const int64_t target : AvailableBits()) {
    if (!name.empty() && hwy::TargetName(target) == name) selected_target = target;
  }
  VL2_CHECK(name.empty() || selected_target != 0) << "no CPU target " << name;
  Apply();
}

absl::Status ChooseCpuTarget(std::string_view name) {
  const std::vector<std::string> available = AvailableCpuTargets();
  if (!name.empty() && std::ranges::find(available, name) == available.end()) {
    return InvalidArgument("--cpu_target \"", name,
                           "\" is not one of this machine's: ", absl::StrJoin(available, ", "));
  }
  SelectCpuTarget(name);
  return absl::OkStatus();
}

}  // namespace vl2
