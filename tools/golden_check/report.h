// Report: one line per checked item, then a total. An item is a tensor, a file's rows or a
// property.
//
//   PASS  outputs/tiny_mha/c1_text  logits           max error 1.2e-05  tolerance 1.0e-04
//   MISS  tokenizer/small_encode    ids              line 17: expected [3, 4], got [3, 5]
//
// Threading: one thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "runtime/base/sha256.h"

namespace vl2 {

class Report {
 public:
  // With report_only, misses are printed but do not count as failures (--activations=bf16).
  explicit Report(bool report_only = false) : report_only_(report_only) {}

  // Compares two arrays of numbers: same length, NaN nowhere, largest absolute difference at most
  // `tolerance`.
  void Compare(const std::string& item, std::string_view what, std::span<const float> expected,
               std::span<const float> actual, double tolerance);
  // Compares integers for equality.
  void CompareExact(const std::string& item, std::string_view what,
                    std::span<const int64_t> expected, std::span<const int64_t> actual);
  // An item checked elsewhere. `detail` is printed; for a miss it says what was expected.
  void Check(const std::string& item, std::string_view what, bool pass, const std::string& detail);
  // A part that the folder does not hold.
  void Absent(const std::string& item);

  // Prints the total, and a digest of all numbers that were compared: equal digests of two builds
  // on one machine mean that nothing has changed by a bit. Returns the exit status: 0 when
  // something was found and nothing missed.
  int Finish();

  int num_items() const { return num_items_; }
  int num_missed() const { return num_missed_; }

 private:
  const bool report_only_;
  Sha256 computed_;  // the values of Compare, in order
  int num_items_ = 0;
  int num_missed_ = 0;
  int num_absent_ = 0;
};

}  // namespace vl2
