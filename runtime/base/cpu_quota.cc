#include "runtime/base/cpu_quota.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>
#include <vector>

namespace vl2 {
namespace {

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// "max 100000" or "50000 100000".
std::optional<double> QuotaOfV2(const std::string& folder) {
  std::istringstream text(ReadText(folder + "/cpu.max"));
  double quota = 0, period = 0;
  if (!(text >> quota >> period) || quota <= 0 || period <= 0) return std::nullopt;
  return quota / period;
}

std::optional<double> QuotaOfV1(const std::string& folder) {
  std::istringstream quota_text(ReadText(folder + "/cpu.cfs_quota_us"));
  std::istringstream period_text(ReadText(folder + "/cpu.cfs_period_us"));
  double quota = 0, period = 0;
  if (!(quota_text >> quota) || !(period_text >> period) || quota <= 0 || period <= 0) {
    return std::nullopt;
  }
  return quota / period;
}

using QuotaOf = std::optional<double> (*)(const std::string& folder);

// Of the group `path` and all above it up to `base`. A container may see its own group at `base`
// under a path that is its host's: then only that one is there.
void TakeSmallest(const std::string& base, std::string path, QuotaOf quota_of,
                  std::optional<double>& smallest) {
  for (;;) {
    if (const auto quota = quota_of(base + path)) {
      smallest = smallest ? std::min(*smallest, *quota) : *quota;
    }
    if (path.empty()) return;
    path.erase(std::min(path.rfind('/'), path.size()));
  }
}

bool Contains(const std::string& controllers, std::string_view name) {
  std::istringstream list(controllers);
  for (std::string each; std::getline(list, each, ',');) {
    if (each == name) return true;
  }
  return false;
}

}  // namespace

std::optional<double> CpuQuota(const std::string& self_cgroup, const std::string& mount) {
  std::optional<double> smallest;
  std::istringstream lines(self_cgroup);
  for (std::string line; std::getline(lines, line);) {
    // "hierarchy:controllers:path"; version 2 is "0::path".
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    while (!path.empty() && path.back() == '/') path.pop_back();
    if (controllers.empty()) {
      TakeSmallest(mount, path, &QuotaOfV2, smallest);
      TakeSmallest(mount + "/unified", path, &QuotaOfV2, smallest);
    } else if (Contains(controllers, "cpu")) {
      for (const char* name : {"/cpu", "/cpu,cpuacct", "/cpuacct,cpu"}) {
        TakeSmallest(mount + name, path, &QuotaOfV1, smallest);
      }
    }
  }
  return smallest;
}

int UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = static_cast<int>(std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof(set), &set) == 0) cores = CPU_COUNT(&set);
  if (const auto quota = CpuQuota(ReadText("/proc/self/cgroup"), "/sys/fs/cgroup")) {
    cores = std::min(cores, static_cast<int>(std::floor(*quota)));
  }
  return std::max(1, cores);
}

}  // namespace vl2
