#include "runtime/rpc/bounded_message.h"

#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/coded_stream.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::io::CodedInputStream;

// As on the wire.
enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

enum class Outcome { kFits, kTooMany, kMalformed };

class FieldCounter {
 public:
  FieldCounter(CodedInputStream& in, int64_t max_fields) : in_(in), left_(max_fields) {}

  Outcome Count(const Descriptor& type, int depth) {
    if (depth > kMaxMessageDepth) return Outcome::kTooMany;
    while (const uint32_t tag = in_.ReadTag()) {
      if (--left_ < 0) return Outcome::kTooMany;
      const Outcome outcome =
          CountField(type.FindFieldByNumber(static_cast<int>(tag >> 3)), tag & 7, depth);
      if (outcome != Outcome::kFits) return outcome;
    }
    // Ended by a tag of 0 otherwise, which nothing begins with.
    return in_.ConsumedEntireMessage() ? Outcome::kFits : Outcome::kMalformed;
  }

 private:
  static Outcome FitsIf(bool read) { return read ? Outcome::kFits : Outcome::kMalformed; }

  // `field` is null for an unknown one.
  Outcome CountField(const FieldDescriptor* field, uint32_t wire_type, int depth) {
    uint64_t wide = 0;
    uint32_t narrow = 0;
    switch (wire_type) {
      case kVarint:
        return FitsIf(in_.ReadVarint64(&wide));
      case kFixed64:
        return FitsIf(in_.ReadLittleEndian64(&wide));
      case kFixed32:
        return FitsIf(in_.ReadLittleEndian32(&narrow));
      case kBytes:
        return CountBytes(field, depth);
      default:  // groups, which proto3 does not have
        return Outcome::kMalformed;
    }
  }

  Outcome CountBytes(const FieldDescriptor* field, int depth) {
    int length = 0;
    if (!in_.ReadVarintSizeAsInt(&length)) return Outcome::kMalformed;
    if (field != nullptr && field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      const auto limit = in_.PushLimit(length);
      const Outcome outcome = Count(*field->message_type(), depth + 1);
      if (outcome != Outcome::kFits || in_.BytesUntilLimit() > 0) {
        return outcome == Outcome::kFits ? Outcome::kMalformed : outcome;
      }
      in_.PopLimit(limit);
      return Outcome::kFits;
    }
    const bool packed = field != nullptr && field->is_packable();
    if (packed && (left_ -= length) < 0) return Outcome::kTooMany;
    return FitsIf(in_.Skip(length));
  }

  CodedInputStream& in_;
  int64_t left_;
};

}  // namespace

absl::Status CheckFields(const Descriptor& type, int64_t max_fields,
                         google::protobuf::io::ZeroCopyInputStream& bytes) {
  CodedInputStream in(&bytes);
  switch (FieldCounter(in, max_fields).Count(type, 1)) {
    case Outcome::kFits:
      return absl::OkStatus();
    case Outcome::kTooMany:
      return InvalidArgument("the ", type.name(), " has more than ", max_fields, " fields or ",
                             kMaxMessageDepth, " levels");
    case Outcome::kMalformed:
      break;
  }
  return InvalidArgument("the bytes are no ", type.name());
}

absl::Status ParseBounded(const grpc::ByteBuffer& bytes, int64_t max_fields,
                          google::protobuf::Message& message) {
  const Descriptor& type = *message.GetDescriptor();
  // Both readers leave the buffer as it is, and ask for it as not constant.
  grpc::ByteBuffer buffer = bytes;
  {
    grpc::ProtoBufferReader reader(&buffer);
    if (!reader.status().ok()) return InvalidArgument("the bytes are no ", type.name());
    VL2_RETURN_IF_ERROR(CheckFields(type, max_fields, reader));
  }
  grpc::ProtoBufferReader reader(&buffer);
  if (!reader.status().ok() || !message.ParseFromZeroCopyStream(&reader)) {
    return InvalidArgument("the bytes are no ", type.name());
  }
  return absl::OkStatus();
}

grpc::ByteBuffer Serialized(const google::protobuf::Message& message) {
  grpc::ByteBuffer bytes;
  bool own_buffer = false;
  const grpc::Status status =
      grpc::SerializationTraits<google::protobuf::Message>::Serialize(message, &bytes, &own_buffer);
  VL2_CHECK(status.ok()) << status.error_message();
  return bytes;
}

}  // namespace vl2
