// The gRPC message ChatRequest into its validation. Whatever the bytes are: a valid task, or
// INVALID_ARGUMENT in few words.
#include <cstddef>
#include <cstdint>

#include "gateway/service/wire.h"
#include "runtime/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vl2::v1::ChatRequest request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return 0;
  const auto task = vl2::gateway::TaskOf(request, vl2::gateway::SamplingChoice());
  if (!task.ok()) {
    VL2_CHECK(absl::IsInvalidArgument(task.status())) << task.status();
    VL2_CHECK(task.status().message().size() < 1000) << task.status();
    return 0;
  }
  VL2_CHECK(vl2::gateway::ValidateTask(*task).ok());
  VL2_CHECK(!task->messages.empty());
  return 0;
}
