// Rows of a small comma-separated test file, its header line left out. Test-only: aborts when the
// file is missing.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/base/json.h"

namespace vl2 {

inline std::vector<std::vector<std::string>> ReadCsv(const std::string& path) {
  const auto text = ReadFile(path, size_t{1} << 20);
  VL2_CHECK(text.ok()) << path << ": " << text.status();
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> row(1);
  for (const char c : *text) {
    if (c == '\n') {
      rows.push_back(std::move(row));
      row.assign(1, "");
    } else if (c == ',') {
      row.emplace_back();
    } else if (c != '\r') {
      row.back() += c;
    }
  }
  VL2_CHECK(!rows.empty()) << path;
  rows.erase(rows.begin());
  return rows;
}

}  // namespace vl2
