// Where golden data lies: tests/golden/data, or the folder that VL2_GOLDEN_DATA names (for data
// that is not part of the repository).
#pragma once

#include <cstdlib>
#include <string>

namespace vl2 {

inline std::string GoldenPath(const std::string& path) {
  const char* root = std::getenv("VL2_GOLDEN_DATA");
  return (root != nullptr ? std::string(root) : std::string(VL2_TEST_DATA) + "/golden/data") + "/" +
         path;
}

}  // namespace vl2
