#include "runtime/ops/cpu/cpu_target.h"

#include <algorithm>

#include "absl/strings/str_join.h"
#include "hwy/highway.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"

#if HWY_ARCH_X86
#include <cpuid.h>
#elif HWY_ARCH_ARM_A64
#include <sys/auxv.h>
#endif

namespace vl2 {
namespace {

struct Target {
  std::string name;
  int64_t bit = 0;
  ByteProducts products = ByteProducts::kOwn;
};

// What the processor has beside the set `bit`.
ByteProducts ProductsBeside(int64_t bit) {
#if HWY_ARCH_X86
  if (bit != HWY_AVX2) return ByteProducts::kOwn;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 4)) != 0) {
    return ByteProducts::kVex;
  }
  if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl")) {
    return ByteProducts::kEvex;
  }
#elif HWY_ARCH_ARM_A64
  constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP
  if (bit == HWY_NEON && (getauxval(AT_HWCAP) & kDotProducts) != 0) return ByteProducts::kDot;
#endif
  return ByteProducts::kOwn;
}

// Every target of HWY_TARGETS that this machine supports, best (lowest bit) first.
std::vector<Target> Available() {
  hwy::SetSupportedTargetsForTest(0);
  std::vector<Target> targets;
  for (const int64_t bit : hwy::SupportedAndGeneratedTargets()) {
    const std::string name = hwy::TargetName(bit);
    const ByteProducts products = ProductsBeside(bit);
    if (products != ByteProducts::kOwn) {
      targets.push_back(
          {name + (products == ByteProducts::kDot ? "_DOT" : "_VNNI"), bit, products});
    }
    targets.push_back({name, bit, ByteProducts::kOwn});
  }
  return targets;
}

// What SelectCpuTarget chose; without a name: the best.
Target& Selected() {
  static Target selected;
  return selected;
}

void Apply() {
  const int64_t bit = Selected().bit;
  // Files that have no form of their own for AVX3_DL take AVX3's.
  const int64_t with = bit == HWY_AVX3_DL ? HWY_AVX3 : 0;
  hwy::SetSupportedTargetsForTest(bit | with);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

// Of the best set. Changes nothing: units of work ask.
ByteProducts BestProducts() {
  const int64_t bits = hwy::SupportedTargets() & HWY_TARGETS;
  return ProductsBeside(bits & -bits);
}

}  // namespace

ByteProducts CpuByteProducts() {
  static const ByteProducts best = BestProducts();
  return Selected().bit != 0 ? Selected().products : best;
}

std::vector<std::string> AvailableCpuTargets() {
  std::vector<std::string> names;
  for (const Target& target : Available()) names.push_back(target.name);
  Apply();
  return names;
}

std::string CpuTarget() {
  return Selected().bit != 0 ? Selected().name : AvailableCpuTargets().front();
}

void SelectCpuTarget(std::string_view name) {
  Selected() = Target();
  for (const Target& target : Available()) {
    if (!name.empty() && target.name == name) Selected() = target;
  }
  VL2_CHECK(name.empty() || Selected().bit != 0) << "no CPU target " << name;
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
