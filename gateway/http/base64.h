// Base64Decoder: the "forgiving-base64 decode" of the Infra standard, piece by piece.
//
// ASCII white space counts for nothing, padding may be missing, and bits of the last digit that no
// byte takes are dropped. Faults: a character outside the standard alphabet, padding anywhere but
// at the end of a last group of four, and a last group of one digit.
//
// Owns: what has been decoded. Threading: one thread at a time. Time and memory are linear.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vl2::gateway {

class Base64Decoder {
 public:
  // Room for the bytes of `max_characters`, the limit of all pieces together.
  explicit Base64Decoder(size_t max_characters);

  // Takes the next characters.
  void Push(std::string_view piece);

  // INVALID_ARGUMENT naming the first fault. Ends the use of this.
  absl::StatusOr<std::string> Finish();

 private:
  size_t PushGroups(std::string_view piece);
  void PushCharacter(unsigned char c);

  std::string bytes_;     // as long as it may become
  size_t num_bytes_ = 0;  // of them decoded
  uint32_t bits_ = 0;     // of an unfinished group
  int num_digits_ = 0;    // in it, 0 to 3
  int num_padding_ = 0;
  size_t num_read_ = 0;
  size_t fault_at_ = std::string::npos;  // characters before the first fault
};

}  // namespace vl2::gateway
