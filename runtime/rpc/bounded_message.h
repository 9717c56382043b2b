// Messages from outside, parsed only when what they build is bounded.
//
// Protocol Buffers build an object for every field, so that 60 MiB of empty submessages, which cost
// two bytes each on the wire, become gigabytes before a service sees the first of them. Here the
// fields are counted on the wire first; nothing is built for that.
//
// Pure functions.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "google/protobuf/io/zero_copy_stream.h"
#include "google/protobuf/message.h"
#include "grpcpp/support/byte_buffer.h"

namespace vl2 {

// Levels of submessages.
inline constexpr int kMaxMessageDepth = 16;

// INVALID_ARGUMENT when `bytes` is no encoding of such a message, or has more than `max_fields`
// fields, those of submessages and unknown ones included; every byte of a packed list counts as a
// field.
absl::Status CheckFields(const google::protobuf::Descriptor& type, int64_t max_fields,
                         google::protobuf::io::ZeroCopyInputStream& bytes);

// Checks, then parses.
absl::Status ParseBounded(const grpc::ByteBuffer& bytes, int64_t max_fields,
                          google::protobuf::Message& message);

// For methods that answer in bytes because they are asked in bytes.
grpc::ByteBuffer Serialized(const google::protobuf::Message& message);

}  // namespace vl2
