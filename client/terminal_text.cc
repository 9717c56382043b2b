#include "client/terminal_text.h"

namespace vl2::client {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

// Bytes of the control character that `text` begins with; 0: none.
size_t ControlBytes(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x20 || first == 0x7f) return 1;
  // U+0080 to U+009F, which terminals obey too.
  if (first == 0xc2 && text.size() > 1 && static_cast<unsigned char>(text[1]) < 0xa0) return 2;
  return 0;
}

std::string Harmless(std::string_view text, bool one_line) {
  std::string out;
  while (!text.empty()) {
    const size_t control = ControlBytes(text);
    if (control == 0) {
      out += text[0];
    } else if (text[0] == '\n' || text[0] == '\t') {
      out += one_line ? ' ' : text[0];
    } else {
      out += kReplacement;
    }
    text.remove_prefix(control == 0 ? 1 : control);
  }
  return out;
}

}  // namespace

std::string ForTerminal(std::string_view text) { return Harmless(text, /*one_line=*/false); }

std::string OneLine(std::string_view text) { return Harmless(text, /*one_line=*/true); }

}  // namespace vl2::client
