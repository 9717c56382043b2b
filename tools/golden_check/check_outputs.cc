#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>

#include "lm_service/model/language_model.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/ops/make_ops.h"
#include "tools/golden_check/batch_runner.h"
#include "tools/golden_check/checks.h"
#include "tools/golden_check/golden_file.h"
#include "tools/golden_check/golden_tap.h"
#include "tools/golden_check/prepared_case.h"
#include "tools/golden_check/rounding_ops.h"
#include "vision_service/model/tile_assembler.h"
#include "vision_service/model/vision_encoder.h"

namespace vl2 {
namespace {

namespace fs = std::filesystem;

// Tolerances of the golden data's README, float32 activations.
constexpr double kVisionTolerance = 2e-5;
constexpr double kHiddenTolerance = 1e-4;
constexpr double kRotatedKeyTolerance = 5e-4;
constexpr double kRouterTolerance = 1e-5;
constexpr double kLogitsTolerance = 1e-4;

double CacheTolerance(const std::string& kind) {
  return kind == "key" || kind == "k_pe" ? kRotatedKeyTolerance : kHiddenTolerance;
}

// One checkpoint with everything loaded.
struct LoadedModel {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Ops> ops;
  std::unique_ptr<VisionEncoder> vision;
  std::unique_ptr<LanguageModel> language;
  std::optional<Tokenizer> tokenizer;
  ImageProcessorConfig processor;
};

// A case with its input vectors.
struct CaseInputs {
  std::string name;
  PreparedCase prepared;
  GrowingHostMatrix memory;
  HostMatrix embeds;  // [tokens, hidden]
  VisionTap tap;
};

absl::StatusOr<std::unique_ptr<LoadedModel>> LoadModel(const GoldenOptions& options,
                                                       const std::string& name, ThreadPool& pool) {
  auto model = std::make_unique<LoadedModel>();
  VL2_ASSIGN_OR_RETURN(model->checkpoint, Checkpoint::Open(options.dir + "/checkpoints/" + name));
  if (options.make_ops) {
    model->ops = options.make_ops(&pool);
  } else {
    VL2_ASSIGN_OR_RETURN(model->ops, MakeOps(options.ops, &pool));
  }
  if (options.activations == "bf16") model->ops = MakeRoundingOps(std::move(model->ops));
  model->vision = VisionEncoder::Load(*model->checkpoint, *model->ops);
  model->language = LanguageModel::Load(*model->checkpoint, *model->ops);
  VL2_ASSIGN_OR_RETURN(model->tokenizer, Tokenizer::Load(model->checkpoint->dir()));
  VL2_ASSIGN_OR_RETURN(const Json processor,
                       ParseJsonFile(model->checkpoint->dir() + "/processor_config.json"));
  VL2_ASSIGN_OR_RETURN(model->processor, ParseImageProcessorConfig(processor));
  return model;
}

// Which tower rows the golden file lists: the first two tiles' and tile 0's patches.
absl::Status ListVisionRows(const GoldenFile& golden, const ModelConfig& config, VisionTap& tap) {
  if (!golden.Has("vision.output")) return absl::OkStatus();
  VL2_ASSIGN_OR_RETURN(const auto patches, golden.Ints("vision.rows"));
  VL2_ASSIGN_OR_RETURN(const auto projected, golden.Ints("projector.rows"));
  VL2_ASSIGN_OR_RETURN(const auto tile0, golden.Ints("vision.patch_positions"));
  const int64_t per_tile = config.tile_side() * config.tile_side();
  for (int64_t tile = 0; tile < 2; ++tile) {
    for (const int64_t row : patches) {
      tap.rows["vision.output"].push_back(tile * config.vision_config.num_patches() + row);
    }
    for (const int64_t row : projected) {
      tap.rows["projector.output"].push_back(tile * per_tile + row);
    }
  }
  tap.rows["vision.patch_embed"] = tile0;
  for (int64_t i = 0; i < config.vision_config.layers; ++i) {
    tap.rows[Cat("vision.block", i)] = tile0;
  }
  return absl::OkStatus();
}

// The input vectors of `ids`: as rows of one sequence, whose cache is not used.
void EmbedText(LanguageModel& model, const std::vector<int32_t>& ids, HostMatrix out) {
  const std::unique_ptr<PagedCache> cache = model.MakeCache(1);
  const std::vector<int32_t> table(static_cast<size_t>(BlocksFor(out.rows)), 0);
  const SequenceRows rows = {
      .num_rows = out.rows, .num_prompt = out.rows, .block_table = table.data()};
  const std::unique_ptr<Batch> batch = model.ops().NewBatch();
  model.SetBatch(std::span(&rows, 1), ids, {}, *cache, batch.get());
  GrowingMatrix device_memory(model.ops().device());
  GrowingHostMatrix host_memory;
  const Matrix embedded = device_memory.Resize(out.rows, out.cols);
  model.Embed(*batch, embedded);
  const ConstHostMatrix values = ToHost(ConstMatrix(embedded), host_memory);
  std::copy_n(values.data, out.rows * out.cols, out.data);
}

// Encodes the case's tiles and lays text and image vectors out as the prompt says.
void EmbedCase(LoadedModel& model, CaseInputs& inputs) {
  const PreparedCase& prepared = inputs.prepared;
  const ModelConfig& config = model.checkpoint->config();
  const auto num_tokens = static_cast<int64_t>(prepared.layout.input_ids.size());
  inputs.embeds = inputs.memory.Resize(num_tokens, model.language->hidden());
  EmbedText(*model.language, prepared.layout.input_ids, inputs.embeds);
  if (prepared.tiles.empty()) return;

  const PixelNormalizer normalizer = model.processor.normalizer();
  std::vector<const uint8_t*> tiles;
  for (const Tile& tile : prepared.tiles) tiles.push_back(tile.data());
  const int64_t per_tile = model.vision->embeddings_per_tile();
  GrowingMatrix device_memory(model.ops->device());
  GrowingHostMatrix host_memory;
  const Matrix out =
      device_memory.Resize(static_cast<int64_t>(tiles.size()) * per_tile, model.vision->hidden());
  model.vision->Encode(tiles, normalizer.table(), out, &inputs.tap);
  const ConstHostMatrix encoded = ToHost(ConstMatrix(out), host_memory);

  int64_t next_tile = 0;
  int64_t token = 0;
  for (const auto& [wide, high] : prepared.images_spatial_crop) {
    TileAssembler assembler(wide, high, config.tile_side(), model.vision->image_newline(),
                            model.vision->view_seperator());
    // Backwards, so that a fault in the readiness logic shows.
    for (int64_t tile = assembler.num_tiles() - 1; tile >= 0; --tile) {
      assembler.AddTile(tile, encoded.Rows((next_tile + tile) * per_tile, per_tile));
    }
    VL2_CHECK(assembler.complete());
    next_tile += assembler.num_tiles();
    const ConstHostMatrix image = assembler.embeddings();
    for (int64_t i = 0; i < image.rows; ++token) {
      if (prepared.layout.image_mask[static_cast<size_t>(token)] == 0) continue;
      std::copy_n(image.row(i++), image.cols, inputs.embeds.row(token));
    }
  }
}

void CompareVision(const std::string& item, const GoldenFile& golden, const CaseInputs& inputs,
                   Report& report) {
  for (const auto& [name, rows] : inputs.tap.rows) {
    if (!golden.Has(name)) continue;
    const auto expected = golden.Floats(name);
    const auto actual = inputs.tap.values.find(name);
    if (!expected.ok() || actual == inputs.tap.values.end()) {
      report.Check(item, name, false, Message(expected.status()));
      continue;
    }
    report.Compare(item, name, *expected, actual->second, kVisionTolerance);
  }
  const auto rows = golden.Ints("embeds_rows");
  const auto expected = golden.Floats("inputs_embeds");
  if (!rows.ok() || !expected.ok()) return;
  std::vector<float> actual;
  for (const int64_t row : *rows) {
    if (row < 0 || row >= inputs.embeds.rows) continue;
    actual.insert(actual.end(), inputs.embeds.row(row),
                  inputs.embeds.row(row) + inputs.embeds.cols);
  }
  report.Compare(item, "inputs_embeds", *expected, actual, kVisionTolerance);
}

// The five best words of each greedy step: their logits, compared at the golden ids so that a tie
// in order does not hide an error in value.
class GreedyRecord {
 public:
  explicit GreedyRecord(std::vector<int64_t> expected_ids)
      : expected_ids_(std::move(expected_ids)) {}

  void Add(std::span<const float> logits) {
    const size_t step = num_steps_++;
    std::vector<int64_t> order(logits.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
    std::partial_sort(order.begin(), order.begin() + 5, order.end(), [&](int64_t a, int64_t b) {
      const float x = logits[static_cast<size_t>(a)];
      const float y = logits[static_cast<size_t>(b)];
      return x != y ? x > y : a < b;
    });
    ids.insert(ids.end(), order.begin(), order.begin() + 5);
    for (size_t i = 5 * step; i < 5 * step + 5 && i < expected_ids_.size(); ++i) {
      const auto id = static_cast<size_t>(expected_ids_[i]);
      logits_at_expected.push_back(id < logits.size() ? logits[id] : NAN);
    }
  }

  std::vector<int64_t> ids;
  std::vector<float> logits_at_expected;

 private:
  const std::vector<int64_t> expected_ids_;
  size_t num_steps_ = 0;
};

void CompareLanguage(const std::string& item, const GoldenOptions& options,
                     const GoldenFile& golden, LoadedModel& model, std::vector<CaseInputs*> batch,
                     Report& report) {
  const auto positions = golden.Ints("positions");
  const auto greedy_ids = golden.Ints("greedy.ids");
  const auto top5_ids = golden.Ints("greedy.top5_ids");
  if (!positions.ok() || !greedy_ids.ok() || !top5_ids.ok()) {
    report.Check(item, "positions", false, Message(positions.status()));
    return;
  }
  std::vector<ConstHostMatrix> prompts;
  for (const CaseInputs* inputs : batch) prompts.push_back(inputs->embeds);
  BatchRunner runner(*model.language, prompts, options.chunk,
                     static_cast<int64_t>(greedy_ids->size()));
  LanguageTap tap(*positions);
  GreedyRecord greedy(*top5_ids);
  runner.Run(
      *positions, &tap,
      [&](const SequenceRows* rows, std::span<const int64_t> watched) {
        tap.BeginStep(rows, watched);
      },
      [&](size_t sequence, std::span<const float> logits) {
        if (sequence == 0) greedy.Add(logits);
      });

  for (const auto& [name, entry] : golden.header()) {
    if (name.starts_with("hidden.") ||
        (name.starts_with("router.") && name.ends_with(".weights"))) {
      const auto expected = golden.Floats(name);
      report.Compare(item, name, *expected, tap.values[name],
                     name.starts_with("hidden.") ? kHiddenTolerance : kRouterTolerance);
    } else if (name.starts_with("router.")) {
      report.CompareExact(item, name, *golden.Ints(name), tap.experts[name]);
    } else if (name.starts_with("cache.layer")) {
      // cache.layer<i>.<kind>
      const size_t dot = name.find('.', 11);
      const int64_t layer = std::stoll(name.substr(11, dot - 11));
      const std::string kind = name.substr(dot + 1);
      auto rows = ReadCacheRows(model.language->config(), *model.ops, runner.cache(), layer,
                                runner.sequence(0).block_table, *positions);
      report.Compare(item, name, *golden.Floats(name), rows[kind], CacheTolerance(kind));
    }
  }
  report.Compare(item, "logits", *golden.Floats("logits"), runner.watched_logits(),
                 kLogitsTolerance);
  const auto& generated = runner.sequence(0).generated;
  report.CompareExact(item, "greedy.ids", *greedy_ids,
                      std::vector<int64_t>(generated.begin(), generated.end()));
  report.CompareExact(item, "greedy.top5_ids", *top5_ids, greedy.ids);
  report.Compare(item, "greedy.top5_logits", *golden.Floats("greedy.top5_logits"),
                 greedy.logits_at_expected, kLogitsTolerance);
}

void CompareText(const std::string& item, const std::string& json_path, const Tokenizer& tokenizer,
                 const GoldenFile& golden, Report& report) {
  const auto json = ParseJsonFile(json_path);
  const auto ids = golden.Ints("greedy.ids");
  if (!json.ok() || !ids.ok() || !json->contains("greedy_text_skip_special_false")) return;
  const std::vector<int32_t> ids32(ids->begin(), ids->end());
  for (const bool skip : {false, true}) {
    const std::string key = Cat("greedy_text_skip_special_", skip ? "true" : "false");
    const std::string text = tokenizer.Decode(ids32, skip);
    report.Check(item, key, text == (*json)[key].get<std::string>(),
                 text == (*json)[key].get<std::string>() ? "exact" : "got " + text);
  }
}

// All cases of one checkpoint.
absl::Status CheckModel(const GoldenOptions& options, const std::string& name, ThreadPool& pool,
                        Report& report) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(options.dir + "/outputs/" + name)) {
    if (entry.path().extension() == ".safetensors") names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  std::erase_if(names, [&](const std::string& case_name) {
    return Cat("outputs/", name, "/", case_name).find(options.filter) == std::string::npos;
  });
  if (names.empty()) return absl::OkStatus();
  VL2_ASSIGN_OR_RETURN(const auto model, LoadModel(options, name, pool));

  std::vector<std::unique_ptr<CaseInputs>> cases;
  std::vector<GoldenFile> goldens;
  for (const std::string& case_name : names) {
    const std::string path = options.dir + "/outputs/" + name + "/" + case_name;
    VL2_ASSIGN_OR_RETURN(GoldenFile golden, GoldenFile::Open(path + ".safetensors"));
    VL2_ASSIGN_OR_RETURN(const Json json,
                         ParseJsonFile(options.dir + "/cases/" + case_name + ".json"));
    auto inputs = std::make_unique<CaseInputs>();
    inputs->name = case_name;
    VL2_ASSIGN_OR_RETURN(inputs->prepared,
                         PrepareCase(options.dir, json, *model->tokenizer, model->processor));
    VL2_RETURN_IF_ERROR(ListVisionRows(golden, model->checkpoint->config(), inputs->tap));
    EmbedCase(*model, *inputs);
    const std::string item = Cat("outputs/", name, "/", case_name);
    CheckPrompt(item, golden, inputs->prepared, report);
    CompareVision(item, golden, *inputs, report);
    CompareText(item, path + ".json", *model->tokenizer, golden, report);
    cases.push_back(std::move(inputs));
    goldens.push_back(std::move(golden));
  }
  for (size_t i = 0; i < cases.size(); ++i) {
    std::vector<CaseInputs*> batch;
    for (int64_t b = 0; b < options.batch; ++b) {
      batch.push_back(cases[(i + static_cast<size_t>(b)) % cases.size()].get());
    }
    CompareLanguage(Cat("outputs/", name, "/", cases[i]->name), options, goldens[i], *model, batch,
                    report);
  }
  return absl::OkStatus();
}

}  // namespace

void CheckOutputs(const GoldenOptions& options, ThreadPool& pool, Report& report) {
  const std::string root = options.dir + "/outputs";
  std::error_code error;
  if (!fs::is_directory(root, error)) {
    report.Absent("outputs/");
    return;
  }
  std::set<std::string> models;
  for (const auto& entry : fs::directory_iterator(root)) {
    if (entry.is_directory()) models.insert(entry.path().filename());
  }
  if (models.empty()) report.Absent("outputs/*");
  for (const std::string& model : models) {
    const absl::Status status = CheckModel(options, model, pool, report);
    if (!status.ok()) report.Check("outputs/" + model, "loads", false, Message(status));
  }
}

}  // namespace vl2
