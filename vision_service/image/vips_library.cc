#include "vision_service/image/vips_library.h"

#include <vips/vips.h>

#include <algorithm>

#include "runtime/base/status.h"

namespace vl2 {
namespace {

// Hostile files produce warnings by the thousand; what matters becomes an error.
void Discard(const char*, GLogLevelFlags, const char*, void*) {}

absl::Status Initialise() {
  if (vips_init("vl2serve") != 0) {
    return absl::InternalError(Cat("libvips did not start: ", VipsLibrary::TakeError()));
  }
  g_log_set_handler("VIPS", static_cast<GLogLevelFlags>(G_LOG_LEVEL_MASK | G_LOG_FLAG_RECURSION),
                    Discard, nullptr);
  vips_concurrency_set(1);
  vips_cache_set_max(0);
  vips_cache_set_max_mem(0);
  vips_cache_set_max_files(0);
  vips_operation_block_set("VipsForeignLoad", TRUE);
  vips_operation_block_set("VipsForeignLoadTiffBuffer", FALSE);
  return absl::OkStatus();
}

// libvips keeps buffers per thread, freed when the thread says goodbye.
struct ThreadFarewell {
  ~ThreadFarewell() { vips_thread_shutdown(); }
};

}  // namespace

absl::Status VipsLibrary::Start() {
  static const absl::Status status = Initialise();
  static thread_local const ThreadFarewell farewell;
  return status;
}

std::string VipsLibrary::TakeError() {
  constexpr size_t kMaxBytes = 200;
  char* const text = vips_error_buffer_copy();  // also clears it
  std::string line(text);
  g_free(text);
  while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.pop_back();
  if (line.size() > kMaxBytes) line.resize(kMaxBytes);
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c < 0x20 || c > 0x7e; }, ' ');
  return line;
}

}  // namespace vl2
