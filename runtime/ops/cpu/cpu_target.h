// The instruction sets the CPU kernels are compiled for, and which of them runs. The best one that
// this machine has is chosen by default; tests and benchmarks may choose another.
//
// Threading: SelectCpuTarget before any operation runs; it holds for the whole process.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace vl2 {

// How sums of products of bytes are computed beside AVX2 and NEON.
enum class ByteProducts {
  kOwn,   // by the instructions that the set has
  kVex,   // AVX-VNNI
  kEvex,  // AVX-512's VNNI in registers of 256 bits: where AVX2 is asked for on such a machine
  kDot,   // NEON's dot products
};

// Of the instruction set that runs; kOwn where it has no others.
ByteProducts CpuByteProducts();

// Names of the instruction sets this machine can run, best first: "AVX3_DL" (AVX-512 with products
// of bytes), "AVX3" (AVX-512), "AVX2_VNNI", "AVX2", "SSE4", "NEON_DOT", "NEON", "SCALAR" or
// "EMU128" (portable code).
std::vector<std::string> AvailableCpuTargets();

// The one that runs now.
std::string CpuTarget();

// Empty: back to the best one. REQUIRES: one of AvailableCpuTargets().
void SelectCpuTarget(std::string_view name);

// The same for a name from outside: INVALID_ARGUMENT names what there is.
absl::Status ChooseCpuTarget(std::string_view name);

}  // namespace vl2
