// Between the contract's messages (vl2/v1/language.proto) and the engine's own types. What comes
// from outside is checked for size here; what only the model can judge, the engine checks.
//
// Threading: pure functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lm_service/scheduler/request.h"
#include "lm_service/service/upload_tickets.h"
#include "vl2/v1/language.pb.h"

namespace vl2 {

inline constexpr size_t kMaxRequestIdBytes = 128;
inline constexpr size_t kMaxClientIdBytes = 128;
inline constexpr size_t kMaxCacheSaltBytes = 256;
inline constexpr size_t kMaxContentKeyBytes = 128;
inline constexpr int64_t kMaxUploadChunkBytes = int64_t{2} << 20;

// INVALID_ARGUMENT names field, value and limit. The deadline stays unset.
absl::StatusOr<GenerateRequest> FromWire(const v1::GenerateRequest& wire);

// Picture slots of a request.
size_t NumSlots(const GenerateRequest& request);

v1::Token ToWire(const SampledToken& token);
v1::FinishReason ToWire(FinishReason reason);
v1::Finished ToWire(const GenerateStats& stats);

// The chunk's embeddings as float32 [num_embeddings, hidden]. INVALID_ARGUMENT for a wrong size,
// type or checksum, and for values that are not finite: they would spoil every sequence that shares
// the cached prefix.
absl::StatusOr<std::vector<float>> FromWire(const v1::UploadChunk& chunk, v1::DType dtype,
                                            int64_t hidden);

// What an upload says of itself first. FAILED_PRECONDITION for another model, INVALID_ARGUMENT for
// a type that is not taken, and the errors of UploadTickets::Check.
absl::Status CheckUploadHeader(const v1::UploadHeader& header, const std::string& model_id,
                               const UploadTickets& tickets);

// A call's deadline on the engine's clock.
std::chrono::steady_clock::time_point ToSteady(std::chrono::system_clock::time_point deadline);

}  // namespace vl2
