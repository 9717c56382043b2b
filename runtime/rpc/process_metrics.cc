#include "runtime/rpc/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace vl2 {
namespace {

// The fields of /proc/self/stat behind the program's name, which may hold anything. The first is
// field 3 of proc(5).
std::vector<double> StatFields() {
  std::ifstream file("/proc/self/stat");
  std::stringstream text;
  text << file.rdbuf();
  std::string line = text.str();
  const size_t end_of_name = line.rfind(')');
  std::vector<double> fields;
  if (end_of_name == std::string::npos) return fields;
  std::istringstream words(line.substr(end_of_name + 1));
  std::string state;
  words >> state;
  fields.push_back(0);
  for (double value = 0; words >> value;) fields.push_back(value);
  return fields;
}

double BootTime() {
  std::ifstream file("/proc/stat");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("btime ", 0) == 0) return std::stod(line.substr(6));
  }
  return 0;
}

int OpenFiles() {
  DIR* const folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  int count = -3;  // ".", "..", and the folder itself
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

}  // namespace

void CollectProcessMetrics(MetricSamples& samples) {
  const std::vector<double> fields = StatFields();
  const auto field = [&fields](size_t number) {
    return number - 3 < fields.size() ? fields[number - 3] : 0;
  };
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  samples.Counter("process_cpu_seconds_total", "Processor time of user and system.",
                  (field(14) + field(15)) / ticks);
  samples.Gauge("process_resident_memory_bytes", "Memory in use.",
                field(24) * static_cast<double>(sysconf(_SC_PAGESIZE)));
  samples.Gauge("process_virtual_memory_bytes", "Address space in use.", field(23));
  samples.Gauge("process_threads", "Threads.", field(20));
  static const double boot_time = BootTime();
  samples.Gauge("process_start_time_seconds", "When the process began, since 1970.",
                boot_time + field(22) / ticks);
  samples.Gauge("process_open_fds", "Open files.", OpenFiles());
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    samples.Gauge("process_max_fds", "Open files at most.", static_cast<double>(limit.rlim_cur));
  }
}

}  // namespace vl2
