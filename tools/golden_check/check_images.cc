#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>

#include "runtime/base/json.h"
#include "runtime/base/sha256.h"
#include "runtime/base/status.h"
#include "tools/golden_check/checks.h"
#include "tools/golden_check/golden_file.h"
#include "tools/golden_check/prepared_case.h"
#include "vision_service/image/preprocess.h"

namespace vl2 {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFileBytes = size_t{64} << 20;
constexpr double kPixelTolerance = 1e-6;

ImagePreprocessor Preprocessor() {
  ImageProcessorConfig config;
  config.geometry = PublishedGeometry();
  return ImagePreprocessor(config);
}

std::vector<Tile> AllTiles(TileStream stream) {
  std::vector<Tile> tiles;
  for (std::vector<Tile> part = stream.Next(); !part.empty(); part = stream.Next()) {
    for (Tile& tile : part) tiles.push_back(std::move(tile));
  }
  return tiles;
}

// One row of sizes.csv; an empty string or what is wrong.
std::string CheckSizeRow(const std::vector<int>& row) {
  const auto plan =
      PlanTiles({row[0], row[1]}, PublishedGeometry(), Tiling::Published(/*cropping=*/true));
  if (row[15] == 1) return plan.ok() ? "accepted, the reference fails" : "";
  if (!plan.ok()) return Message(plan.status());
  const std::vector<int> actual = {row[0],
                                   row[1],
                                   plan->local.canvas.width,
                                   plan->local.canvas.height,
                                   plan->tiles_wide,
                                   plan->tiles_high,
                                   static_cast<int>(plan->num_embeddings),
                                   plan->global.resized.width,
                                   plan->global.resized.height,
                                   plan->global.offset_x,
                                   plan->global.offset_y,
                                   plan->local.resized.width,
                                   plan->local.resized.height,
                                   plan->local.offset_x,
                                   plan->local.offset_y,
                                   0};
  for (size_t i = 0; i < row.size(); ++i) {
    if (actual[i] != row[i]) return Cat("column ", i, ": expected ", row[i], ", got ", actual[i]);
  }
  return "";
}

// The case's tiles, in order.
absl::StatusOr<PreparedCase> PrepareByName(const GoldenOptions& options, const std::string& name,
                                           const Json& json) {
  // Ids do not matter here; any tokenizer of the folder will do for the template.
  std::error_code error;
  std::string tokenizer_dir = options.dir + "/tokenizer/small";
  if (!fs::exists(tokenizer_dir, error)) {
    for (const auto& entry : fs::directory_iterator(options.dir + "/checkpoints", error)) {
      tokenizer_dir = entry.path();
    }
  }
  VL2_ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::Load(tokenizer_dir));
  ImageProcessorConfig processor;
  processor.geometry = PublishedGeometry();
  auto prepared = PrepareCase(options.dir, json, tokenizer, processor);
  if (!prepared.ok()) return Annotate(prepared.status(), name);
  return prepared;
}

void CheckTileHashes(const std::string& item, const Json& expected, const std::vector<Tile>& tiles,
                     Report& report) {
  std::string problem;
  if (expected.size() != tiles.size()) {
    problem = Cat("expected ", expected.size(), " tiles, got ", tiles.size());
  }
  for (size_t i = 0; i < tiles.size() && problem.empty(); ++i) {
    if (Sha256Hex(tiles[i].data(), tiles[i].num_bytes()) != expected[i]) {
      problem = Cat("tile ", i, " of ", tiles.size(), " differs");
    }
  }
  report.Check(item, "tile_sha256_rgb_bytes", problem.empty(),
               problem.empty() ? Cat("exact, ", tiles.size(), " tiles") : problem);
}

void CheckCaseTiles(const std::string& item, const PreparedCase& prepared, const Json& json,
                    Report& report) {
  CheckTileHashes(item, json["tile_sha256_rgb_bytes"], prepared.tiles, report);
  report.Check(item, "num_tokens",
               static_cast<int>(prepared.layout.input_ids.size()) == json["num_tokens"],
               Cat(prepared.layout.input_ids.size()));
}

void CheckCasePixels(const std::string& item, const GoldenFile& golden,
                     const PreparedCase& prepared, Report& report) {
  if (golden.Has("pixels.slice_f32")) {
    const ImageProcessorConfig processor;
    const PixelNormalizer normalizer = processor.normalizer();
    std::vector<float> slices;
    for (const Tile& tile : prepared.tiles) {
      const int side = tile.side();
      std::vector<float> values(static_cast<size_t>(3 * side * side));
      NormalizeTile(tile, normalizer, values.data());
      for (int c = 0; c < 3; ++c) {
        for (int y = 184; y < 200; ++y) {
          const float* row = values.data() + (c * side + y) * side + 184;
          slices.insert(slices.end(), row, row + 16);
        }
      }
    }
    report.Compare(item, "pixels.slice_f32", *golden.Floats("pixels.slice_f32"), slices,
                   kPixelTolerance);
  }
  if (golden.Has("tiles_u8")) {
    const auto expected = golden.Ints("tiles_u8");
    std::vector<int64_t> bytes;
    for (const Tile& tile : prepared.tiles) {
      if (bytes.size() >= expected->size()) break;  // kept-back files hold the first tiles only
      bytes.insert(bytes.end(), tile.data(), tile.data() + tile.num_bytes());
    }
    report.CompareExact(item, "tiles_u8", *expected, bytes);
  }
}

}  // namespace

void CheckResolution(const GoldenOptions& options, Report& report) {
  const auto text = ReadFile(options.dir + "/resolution/sizes.csv", kMaxFileBytes);
  if (!text.ok()) {
    report.Absent("resolution/sizes.csv");
    return;
  }
  std::istringstream lines(*text);
  std::string line;
  std::getline(lines, line);  // the header
  int num_rows = 0;
  int num_wrong = 0;
  std::string first;
  while (std::getline(lines, line)) {
    std::vector<int> row;
    std::istringstream cells(line);
    for (std::string cell; std::getline(cells, cell, ',');) {
      row.push_back(cell.empty() || cell == "\r" ? 0 : std::atoi(cell.c_str()));
    }
    ++num_rows;
    const std::string problem = row.size() == 16 ? CheckSizeRow(row) : "not 16 columns";
    if (!problem.empty() && num_wrong++ == 0) first = Cat("; row ", num_rows, ": ", problem);
  }
  report.Check("resolution/sizes.csv", "geometry", num_wrong == 0 && num_rows > 0,
               num_wrong == 0 ? Cat("exact, ", num_rows, " rows")
                              : Cat(num_wrong, " of ", num_rows, " rows differ", first));
}

void CheckPixels(const GoldenOptions& options, Report& report) {
  const auto cases = ParseJsonFile(options.dir + "/pixels/pixels.json");
  if (!cases.ok()) {
    report.Absent("pixels/pixels.json");
    return;
  }
  const ImagePreprocessor preprocessor = Preprocessor();
  for (const Json& expected : *cases) {
    const std::string name = expected["name"];
    const std::string item = "pixels/" + name;
    const auto bytes = ReadFile(options.dir + "/pixels/" + name + "_input.png", kMaxFileBytes);
    auto image = bytes.ok() ? preprocessor.decoder().Decode(*bytes, DecodePolicy::Published())
                            : absl::StatusOr<Image>(bytes.status());
    if (!image.ok()) {
      report.Check(item, "decodes", false, Message(image.status()));
      continue;
    }
    report.Check(item, "input_rgb_sha256",
                 Sha256Hex(image->data(), image->num_bytes()) == expected["input_rgb_sha256"],
                 Cat(image->size()));
    auto stream = preprocessor.Tiles(*std::move(image), Tiling::Published(/*cropping=*/true));
    if (!stream.ok()) {
      report.Check(item, "tiles", false, Message(stream.status()));
      continue;
    }
    CheckTileHashes(item, expected["tile_sha256_rgb_bytes"], AllTiles(*std::move(stream)), report);
  }
}

void CheckJpeg(const GoldenOptions& options, Report& report) {
  std::error_code error;
  std::set<std::string> names;
  if (fs::is_directory(options.dir + "/jpeg", error)) {
    for (const auto& entry : fs::directory_iterator(options.dir + "/jpeg")) {
      if (entry.path().extension() == ".jpg") names.insert(entry.path().stem());
    }
  }
  if (names.empty()) report.Absent("jpeg/");
  const ImageDecoder decoder;
  for (const std::string& name : names) {
    const std::string path = options.dir + "/jpeg/" + name;
    const auto jpeg = ReadFile(path + ".jpg", kMaxFileBytes);
    const auto png = ReadFile(path + "_decoded.png", kMaxFileBytes);
    if (!jpeg.ok() || !png.ok()) {
      report.Absent("jpeg/" + name);
      continue;
    }
    const auto actual = decoder.Decode(*jpeg, DecodePolicy::Published());
    const auto expected = decoder.Decode(*png, DecodePolicy::Published());
    if (!actual.ok() || !expected.ok()) {
      report.Check("jpeg/" + name, "decodes", false, Message(actual.status()));
      continue;
    }
    int worst = actual->size() == expected->size() ? 0 : 256;
    for (size_t i = 0; worst < 256 && i < expected->num_bytes(); ++i) {
      worst = std::max(worst, std::abs(int{actual->data()[i]} - int{expected->data()[i]}));
    }
    report.Check("jpeg/" + name, "rgb", worst == 0, Cat("max error ", worst, "  tolerance 0"));
  }
}

void CheckPreprocess(const GoldenOptions& options, Report& report) {
  std::error_code error;
  std::set<std::string> names;
  if (fs::is_directory(options.dir + "/cases", error)) {
    for (const auto& entry : fs::directory_iterator(options.dir + "/cases")) {
      if (entry.path().extension() == ".json") names.insert(entry.path().stem());
    }
  }
  if (names.empty()) report.Absent("cases/");
  if (!fs::is_directory(options.dir + "/preprocess", error)) report.Absent("preprocess/");
  for (const std::string& name : names) {
    const auto json = ParseJsonFile(options.dir + "/cases/" + name + ".json");
    auto prepared = json.ok() ? PrepareByName(options, name, *json)
                              : absl::StatusOr<PreparedCase>(json.status());
    if (!prepared.ok()) {
      report.Check("cases/" + name, "prepares", false, Message(prepared.status()));
      continue;
    }
    CheckCaseTiles("cases/" + name, *prepared, *json, report);
    const auto golden = GoldenFile::Open(options.dir + "/preprocess/" + name + ".safetensors");
    if (!golden.ok()) {
      report.Absent("preprocess/" + name);
      continue;
    }
    const std::string item = "preprocess/" + name;
    CheckPrompt(item, *golden, *prepared, report);
    CheckCasePixels(item, *golden, *prepared, report);
  }
}

}  // namespace vl2
