// UsableCores: how many threads can compute at a time in this process.
//
// The smaller of the cores that it may run on (affinity) and the whole cores of its cgroup's quota,
// at least 1. A container with half a core sees all of its node's cores otherwise, and threads
// beyond the quota make it slower: all of them stop, in the middle of a parallel loop, when it is
// used up.
#pragma once

#include <optional>
#include <string>

namespace vl2 {

int UsableCores();

// Cores of the smallest quota that holds for the cgroups in `self_cgroup` (the text of
// /proc/self/cgroup) or above them; nothing: no quota. Version 1 and 2; `mount` is /sys/fs/cgroup.
std::optional<double> CpuQuota(const std::string& self_cgroup, const std::string& mount);

}  // namespace vl2
