#include "tools/golden_check/report.h"

#include <cmath>
#include <cstdio>

#include "runtime/base/status.h"

namespace vl2 {

void Report::Check(const std::string& item, std::string_view what, bool pass,
                   const std::string& detail) {
  ++num_items_;
  if (!pass) ++num_missed_;
  std::printf("%-6s %-42s %-26s %s\n",
              pass           ? "PASS"
              : report_only_ ? "DIFF"
                             : "MISS",
              item.c_str(), std::string(what).c_str(), detail.c_str());
  std::fflush(stdout);
}

void Report::Compare(const std::string& item, std::string_view what,
                     std::span<const float> expected, std::span<const float> actual,
                     double tolerance) {
  computed_.Update(actual.data(), actual.size_bytes());
  if (expected.size() != actual.size()) {
    Check(item, what, false, Cat("expected ", expected.size(), " values, got ", actual.size()));
    return;
  }
  double worst = 0;
  size_t worst_index = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = std::abs(double{expected[i]} - double{actual[i]});
    // Written so that a NaN counts as worse than anything.
    if (!(error <= worst)) {
      worst = error;
      worst_index = i;
      if (std::isnan(error)) break;
    }
  }
  const bool pass = worst <= tolerance;
  char text[160];
  int length =
      std::snprintf(text, sizeof(text), "max error %.2e  tolerance %.1e", worst, tolerance);
  if (!pass) {
    std::snprintf(text + length, sizeof(text) - static_cast<size_t>(length),
                  "  at %zu: expected %.8g, got %.8g", worst_index, double{expected[worst_index]},
                  double{actual[worst_index]});
  }
  Check(item, what, pass, text);
}

void Report::CompareExact(const std::string& item, std::string_view what,
                          std::span<const int64_t> expected, std::span<const int64_t> actual) {
  if (expected.size() != actual.size()) {
    Check(item, what, false, Cat("expected ", expected.size(), " values, got ", actual.size()));
    return;
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == actual[i]) continue;
    Check(item, what, false, Cat("at ", i, ": expected ", expected[i], ", got ", actual[i]));
    return;
  }
  Check(item, what, true, Cat("exact, ", expected.size(), " values"));
}

void Report::Absent(const std::string& item) {
  ++num_absent_;
  std::printf("%-6s %s\n", "ABSENT", item.c_str());
}

int Report::Finish() {
  std::printf("total: %d items, %d passed, %d %s, %d parts absent\n", num_items_,
              num_items_ - num_missed_, num_missed_, report_only_ ? "differ" : "missed",
              num_absent_);
  std::printf("digest: %s\n", ToHex(computed_.Finish()).c_str());
  if (num_items_ == 0) {
    std::printf("nothing was found to check\n");
    return 1;
  }
  return num_missed_ > 0 && !report_only_ ? 1 : 0;
}

}  // namespace vl2
