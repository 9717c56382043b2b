# Writes OUTPUT, a C++ file whose WebPage() is the text of INPUT.
file(READ ${INPUT} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"gateway/http/web_page.h\"

namespace vl2::gateway {
namespace {
constexpr unsigned char kPage[] = {
${bytes}};
}  // namespace

std::string_view WebPage() { return {reinterpret_cast<const char*>(kPage), sizeof(kPage)}; }

}  // namespace vl2::gateway
")
