// The rules of STYLE.md that a machine can check, over every source file of the repository.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

namespace vl2 {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxLines = 800;    // SIMD bodies (-inl.h) aside
constexpr size_t kMaxColumns = 100;  // characters, not bytes

struct SourceFile {
  std::string path;  // relative to the repository
  std::vector<std::string> lines;
  bool ends_with_newline = true;
};

const std::vector<SourceFile>& Sources() {
  static const auto* const sources = [] {
    auto* const files = new std::vector<SourceFile>;
    const fs::path root = VL2_SOURCE_DIR;
    for (const char* folder : {"runtime", "text", "vision_service", "lm_service", "gateway",
                               "client", "tools", "bench", "tests"}) {
      if (!fs::exists(root / folder)) continue;
      for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
        const std::string extension = entry.path().extension();
        if (extension != ".h" && extension != ".cc" && extension != ".cu") continue;
        SourceFile file;
        file.path = fs::relative(entry.path(), root);
        std::ifstream stream(entry.path(), std::ios::binary);
        const std::string text((std::istreambuf_iterator<char>(stream)), {});
        file.ends_with_newline = text.ends_with('\n');
        for (size_t begin = 0; begin < text.size();) {
          const size_t end = std::min(text.find('\n', begin), text.size());
          file.lines.push_back(text.substr(begin, end - begin));
          begin = end + 1;
        }
        files->push_back(std::move(file));
      }
    }
    return files;
  }();
  return *sources;
}

size_t NumCharacters(std::string_view line) {
  return static_cast<size_t>(
      std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

// The quoted file of an #include "…" line, or empty.
std::string_view IncludedFile(std::string_view line) {
  constexpr std::string_view kInclude = "#include \"";
  if (!line.starts_with(kInclude)) return {};
  line.remove_prefix(kInclude.size());
  return line.substr(0, line.find('"'));
}

bool StartsWithAny(std::string_view text, const std::vector<std::string_view>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [text](std::string_view prefix) { return text.starts_with(prefix); });
}

TEST(Tidy, FindsTheSources) { EXPECT_GT(Sources().size(), 50u); }

TEST(Tidy, LinesAndFilesAreShort) {
  for (const SourceFile& file : Sources()) {
    if (!file.path.ends_with("-inl.h")) {
      EXPECT_LE(file.lines.size(), kMaxLines) << file.path;
    }
    EXPECT_TRUE(file.ends_with_newline) << file.path;
    for (size_t i = 0; i < file.lines.size(); ++i) {
      const std::string& line = file.lines[i];
      EXPECT_LE(NumCharacters(line), kMaxColumns) << file.path << ":" << i + 1;
      EXPECT_EQ(line.find_first_of("\t\r"), std::string::npos) << file.path << ":" << i + 1;
      EXPECT_FALSE(line.ends_with(' ')) << file.path << ":" << i + 1;
    }
  }
}

TEST(Tidy, HeadersHaveGuardsAndAContract) {
  for (const SourceFile& file : Sources()) {
    if (!file.path.ends_with(".h") || file.path.ends_with("-inl.h")) continue;
    ASSERT_FALSE(file.lines.empty()) << file.path;
    EXPECT_TRUE(file.lines[0].starts_with("//")) << file.path << ": begin with what it is for";
    EXPECT_NE(std::find(file.lines.begin(), file.lines.end(), "#pragma once"), file.lines.end())
        << file.path;
  }
}

TEST(Tidy, NamesSayWhatThingsAre) {
  for (const SourceFile& file : Sources()) {
    const std::string name = fs::path(file.path).filename();
    for (const char* word : {"util", "helper", "common", "manager", "misc"}) {
      EXPECT_EQ(name.find(word), std::string::npos) << file.path;
    }
  }
}

// What a folder's files may include of the project, the folder itself aside. The longest matching
// key counts.
const std::map<std::string, std::vector<std::string_view>, std::greater<>>& Layers() {
  static const auto* const layers =
      new std::map<std::string, std::vector<std::string_view>, std::greater<>>{
          {"runtime/base/", {}},
          {"runtime/tensor/", {"runtime/base/"}},
          {"runtime/weight_format/", {"runtime/base/", "runtime/tensor/"}},
          {"runtime/checkpoint/", {"runtime/base/", "runtime/tensor/", "runtime/weight_format/"}},
          {"runtime/ops/", {"runtime/base/", "runtime/tensor/", "runtime/weight_format/"}},
          {"runtime/nn/",
           {"runtime/base/", "runtime/tensor/", "runtime/weight_format/", "runtime/checkpoint/",
            "runtime/ops/"}},
          {"runtime/trace/", {"runtime/base/"}},
          {"runtime/rpc/", {"runtime/base/", "runtime/trace/", "vl2/v1/"}},
          {"text/", {"runtime/base/"}},
          {"vision_service/image/", {"runtime/base/", "runtime/tensor/"}},
          {"vision_service/model/", {"runtime/"}},
          {"vision_service/engine/",
           {"runtime/", "vision_service/image/", "vision_service/model/"}},
          {"vision_service/", {"runtime/", "vl2/v1/"}},
          {"lm_service/sampling/", {"runtime/base/"}},
          {"lm_service/kv_cache/",
           {"runtime/base/", "runtime/tensor/", "runtime/checkpoint/", "runtime/ops/"}},
          {"lm_service/model/", {"runtime/", "lm_service/kv_cache/"}},
          {"lm_service/scheduler/", {"runtime/", "lm_service/kv_cache/", "lm_service/sampling/"}},
          {"lm_service/engine/",
           {"runtime/", "lm_service/kv_cache/", "lm_service/sampling/", "lm_service/scheduler/",
            "lm_service/model/"}},
          {"lm_service/", {"runtime/", "vl2/v1/"}},
          // The end token is the tokenizer's.
          {"lm_service/main.cc", {"lm_service/", "runtime/", "text/", "vl2/v1/"}},
          {"gateway/", {"runtime/base/", "runtime/rpc/", "runtime/trace/", "text/", "vl2/v1/"}},
          {"client/", {"runtime/base/", "runtime/rpc/", "vision_service/image/", "vl2/v1/"}},
      };
  return *layers;
}

TEST(Tidy, IncludesGoOneWay) {
  for (const SourceFile& file : Sources()) {
    const auto layer = std::find_if(Layers().begin(), Layers().end(), [&](const auto& entry) {
      return file.path.starts_with(entry.first);
    });
    if (layer == Layers().end()) continue;  // tools, benchmarks and tests see everything
    for (size_t i = 0; i < file.lines.size(); ++i) {
      const std::string_view included = IncludedFile(file.lines[i]);
      const bool ours =
          StartsWithAny(included, {"runtime/", "text/", "vision_service/", "lm_service/",
                                   "gateway/", "client/", "tools/", "tests/", "bench/", "vl2/v1/"});
      if (!ours) continue;
      EXPECT_TRUE(included.starts_with(layer->first) || StartsWithAny(included, layer->second))
          << file.path << ":" << i + 1 << " may not include " << included;
    }
  }
}

TEST(Tidy, RemoteCallsStayAtTheEdge) {
  for (const SourceFile& file : Sources()) {
    const bool edge = file.path.find("/service/") != std::string::npos ||
                      file.path.find("/upstream/") != std::string::npos ||
                      StartsWithAny(file.path, {"runtime/rpc/", "tests/", "client/", "bench/"}) ||
                      file.path.ends_with("main.cc");
    if (edge) continue;
    for (const std::string& line : file.lines) {
      for (const char* header : {"grpc", "google/protobuf", ".pb.h"}) {
        EXPECT_FALSE(line.starts_with("#include") && line.find(header) != std::string::npos)
            << file.path << ": " << line;
      }
    }
  }
}

TEST(Tidy, OneFileOfTheClientCalls) {
  for (const SourceFile& file : Sources()) {
    if (!file.path.starts_with("client/") || file.path == "client/chat_client.cc") continue;
    for (const std::string& line : file.lines) {
      EXPECT_FALSE(line.starts_with("#include") && line.find("grpc") != std::string::npos)
          << file.path << ": " << line;
    }
  }
}

TEST(Tidy, NothingDependsOnOneMachine) {
  for (const SourceFile& file : Sources()) {
    for (const std::string& line : file.lines) {
      EXPECT_EQ(line.find("/"
                          "work/"),
                std::string::npos)
          << file.path << ": " << line;
      EXPECT_EQ(line.find("shared/"
                          "golden"),
                std::string::npos)
          << file.path << ": " << line;
    }
  }
}

}  // namespace
}  // namespace vl2
