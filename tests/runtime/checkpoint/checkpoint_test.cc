// A good checkpoint opens; every kind of broken one is refused by name.
#include "runtime/checkpoint/checkpoint.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kGolden = VL2_TEST_DATA "/golden/data/checkpoints/base_noaux";
constexpr char kShard1[] = "model-00001-of-000002.safetensors";
constexpr char kNorm[] = "language.model.norm.weight";  // in shard 2

// A copy of a golden checkpoint, to be broken.
class CheckpointTest : public ::testing::Test {
 protected:
  CheckpointTest() {
    dir_ = fs::temp_directory_path() /
           Cat("vl2_checkpoint_", ::testing::UnitTest::GetInstance()->current_test_info()->name(),
               "_", getpid());
    fs::remove_all(dir_);
    fs::copy(kGolden, dir_);
    for (const auto& entry : fs::directory_iterator(dir_)) {
      fs::permissions(entry.path(), fs::perms::owner_all);
    }
  }
  ~CheckpointTest() override { fs::remove_all(dir_); }

  std::string Path(const std::string& name) const { return dir_ / name; }
  std::string Read(const std::string& name) const {
    return ReadFile(Path(name), size_t{1} << 30).value();
  }
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(Path(name), std::ios::binary) << bytes;
  }
  Json ReadJson(const std::string& name) const { return Json::parse(Read(name)); }
  // Header and data of a shard.
  std::pair<Json, std::string> ReadShard(const std::string& name) const {
    const std::string bytes = Read(name);
    uint64_t length;
    std::memcpy(&length, bytes.data(), 8);
    return {Json::parse(bytes.substr(8, length)), bytes.substr(8 + length)};
  }
  void WriteShard(const std::string& name, const Json& header, const std::string& data) const {
    const std::string text = header.dump();
    const uint64_t length = text.size();
    Write(name, std::string(reinterpret_cast<const char*>(&length), 8) + text + data);
  }
  // What Open says.
  std::string Error() const {
    const auto checkpoint = Checkpoint::Open(dir_);
    return checkpoint.ok() ? "opened" : Message(checkpoint.status());
  }
  std::string ErrorWithConfig(const std::function<void(Json&)>& change) const {
    Json config = Json::parse(ReadFile(kGolden + "/config.json", 1 << 20).value());
    change(config);
    Write("config.json", config.dump());
    return Error();
  }

  fs::path dir_;
};

TEST_F(CheckpointTest, GoodOnesOpen) {
  for (const char* name : {"base_noaux", "small_mla", "tiny_mha"}) {
    const auto checkpoint = Checkpoint::Open(Cat(VL2_TEST_DATA, "/golden/data/checkpoints/", name));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ((*checkpoint)->config().language_config.hidden_size, 128);
  }
}

TEST_F(CheckpointTest, MissingFiles) {
  fs::remove(Path(kShard1));
  EXPECT_THAT(Error(), AllOf(HasSubstr("names the shard"), HasSubstr(kShard1)));
  fs::remove(Path("model.safetensors.index.json"));
  EXPECT_THAT(Error(), HasSubstr("neither model.safetensors.index.json nor model.safetensors"));
  fs::remove(Path("config.json"));
  EXPECT_THAT(Error(), HasSubstr("config.json: no such file"));
  fs::remove_all(dir_);
  EXPECT_THAT(Error(), HasSubstr("no such folder"));
}

TEST_F(CheckpointTest, CutShards) {
  const std::string bytes = Read(kShard1);
  Write(kShard1, "");
  EXPECT_THAT(Error(), HasSubstr("too short for a header"));
  Write(kShard1, bytes.substr(0, 7));
  EXPECT_THAT(Error(), HasSubstr("7 bytes, too short"));
  Write(kShard1, bytes.substr(0, 500));
  EXPECT_THAT(Error(), AllOf(HasSubstr(kShard1), HasSubstr("the file has 492 after its length")));
  Write(kShard1, bytes.substr(0, bytes.size() - 1));
  EXPECT_THAT(Error(), HasSubstr("are not a range inside the file"));
  const uint64_t huge = UINT64_MAX;
  Write(kShard1, std::string(reinterpret_cast<const char*>(&huge), 8) + bytes.substr(8));
  EXPECT_THAT(Error(), HasSubstr("header of 18446744073709551615 bytes"));
  Write(kShard1, bytes.substr(0, 8) + std::string(bytes.size() - 8, 'x'));
  EXPECT_THAT(Error(), HasSubstr("header: not valid JSON"));
}

TEST_F(CheckpointTest, LfsPointersInThePlaceOfFiles) {
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:" + std::string(64, 'a') +
      "\nsize 4976698672\n";
  for (const char* name : {"config.json", "processor_config.json", "model.safetensors.index.json",
                           kShard1, "model-00002-of-000002.safetensors"}) {
    const std::string before = Read(name);
    Write(name, pointer);
    EXPECT_THAT(Error(), AllOf(HasSubstr(Cat(name, ": a git-lfs pointer")),
                               HasSubstr(Cat("run `git lfs pull` in ", dir_.string()))));
    Write(name, before);
  }
  EXPECT_EQ(Error(), "opened");
  Write("tokenizer.json", pointer);
  EXPECT_THAT(Message(Checkpoint::Open(dir_).value()->ModelId().status()),
              HasSubstr("tokenizer.json: a git-lfs pointer"));
}

TEST_F(CheckpointTest, BadEntries) {
  const auto [header, data] = ReadShard(kShard1);
  const auto with = [&, header = header, data = data](const std::string& tensor, const char* key,
                                                      const Json& value) {
    Json changed = header;
    changed[tensor][key] = value;
    WriteShard(kShard1, changed, data);
    return Error();
  };
  const std::string tensor = "image_newline";  // BF16 [128]
  EXPECT_THAT(with(tensor, "dtype", "F8_E4M3"), HasSubstr("dtype \"F8_E4M3\" is not supported"));
  EXPECT_THAT(with(tensor, "dtype", 3), HasSubstr("expected a string"));
  EXPECT_THAT(with(tensor, "shape", {64}), HasSubstr("256 bytes of data, but BF16 [64] takes 128"));
  EXPECT_THAT(with(tensor, "shape", {-1}), HasSubstr("dimension -1"));
  EXPECT_THAT(with(tensor, "shape", {1, 1, 1, 1, 128}), HasSubstr("at most 4 dimensions"));
  EXPECT_THAT(with(tensor, "shape", {1ull << 40, 1ull << 40}), HasSubstr("is too large"));
  EXPECT_THAT(with(tensor, "data_offsets", {10}), HasSubstr("not a range"));
  EXPECT_THAT(with(tensor, "data_offsets", {300, 44}), HasSubstr("not a range"));
  EXPECT_THAT(with(tensor, "data_offsets", {data.size(), data.size() + 256}),
              HasSubstr("not a range inside the file's"));
  // On top of its neighbour.
  Json overlapping = header["view_seperator"]["data_offsets"];
  EXPECT_THAT(with(tensor, "data_offsets", overlapping), HasSubstr("overlaps that of"));
  EXPECT_THAT(with(tensor, "dtype", "I64"), HasSubstr("but I64 [128] takes 1024"));
}

TEST_F(CheckpointTest, MisalignedDataIsRead) {
  auto [header, data] = ReadShard(kShard1);
  std::string text = header.dump();
  while (text.size() % 2 == 0) text += ' ';  // an odd header: every tensor misaligned
  const uint64_t length = text.size();
  const auto expected = Checkpoint::Open(dir_).value()->Floats("image_newline");
  Write(kShard1, std::string(reinterpret_cast<const char*>(&length), 8) + text + data);
  const auto checkpoint = Checkpoint::Open(dir_);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->Floats("image_newline"), expected);
}

TEST_F(CheckpointTest, TensorsAndIndexDisagree) {
  auto [header, data] = ReadShard(kShard1);
  const Json index = ReadJson("model.safetensors.index.json");
  const auto with_index = [&](const std::function<void(Json&)>& change) {
    Json changed = index;
    change(changed["weight_map"]);
    Write("model.safetensors.index.json", changed.dump());
    return Error();
  };
  EXPECT_THAT(with_index([](Json& map) { map[kNorm] = kShard1; }),
              AllOf(HasSubstr(kNorm), HasSubstr("puts it into model-00001")));
  EXPECT_THAT(with_index([](Json& map) { map["no.such.tensor"] = kShard1; }),
              AllOf(HasSubstr("no.such.tensor"), HasSubstr("is missing")));
  EXPECT_THAT(with_index([](Json& map) { map.erase(kNorm); }), HasSubstr("does not list it"));
  EXPECT_THAT(with_index([](Json& map) { map[kNorm] = "../secret.safetensors"; }),
              HasSubstr("not the name of a file in the folder"));
  EXPECT_THAT(with_index([](Json& map) { map[kNorm] = 7; }), HasSubstr("is in 7"));
  EXPECT_THAT(with_index([](Json& map) { map = Json::array(); }), HasSubstr("weight_map"));
}

TEST_F(CheckpointTest, MissingSurplusAndMisshapenTensors) {
  const Json index = ReadJson("model.safetensors.index.json");
  const auto [header, data] = ReadShard(kShard1);
  const auto rename = [&, header = header, data = data](const std::string& from,
                                                        const std::string& to) {
    Json changed = header;
    changed[to] = changed[from];
    changed.erase(from);
    WriteShard(kShard1, changed, data);
    Json changed_index = index;
    changed_index["weight_map"].erase(from);
    changed_index["weight_map"][to] = kShard1;
    Write("model.safetensors.index.json", changed_index.dump());
    return Error();
  };
  EXPECT_THAT(rename("image_newline", "image_new_line"),
              AllOf(HasSubstr("\"image_newline\" is missing"), HasSubstr("[128]")));
  // The pooling head is not used and may be called anything below its prefix.
  EXPECT_EQ(rename("vision.attn_pool.q.bias", "vision.attn_pool.other"), "opened");
  EXPECT_THAT(rename("vision.attn_pool.q.bias", "vision.head.bias"),
              HasSubstr("\"vision.head.bias\" does not belong to the model"));
  Json reshaped = header;
  reshaped["image_newline"]["shape"] = {2, 64};
  WriteShard(kShard1, reshaped, data);
  Write("model.safetensors.index.json", index.dump());
  EXPECT_THAT(Error(), HasSubstr("has shape [2, 64], config.json asks for [128]"));
}

TEST_F(CheckpointTest, Configurations) {
  const auto language = [&](const char* key, const Json& value) {
    return ErrorWithConfig([&](Json& config) { config["language_config"][key] = value; });
  };
  EXPECT_THAT(language("hidden_size", 0), HasSubstr("hidden_size: 0 is outside [1,"));
  EXPECT_THAT(language("hidden_size", -128), HasSubstr("-128 is outside"));
  EXPECT_THAT(language("num_hidden_layers", 1e9), HasSubstr("expected an integer"));
  EXPECT_THAT(language("num_hidden_layers", 1000000000), HasSubstr("is outside [1, 1024]"));
  EXPECT_THAT(language("vocab_size", "many"), HasSubstr("expected an integer"));
  EXPECT_THAT(language("topk_method", "gready"), HasSubstr("\"gready\" is not one of greedy"));
  EXPECT_THAT(language("scoring_func", "tanh"), HasSubstr("not one of softmax, sigmoid"));
  EXPECT_THAT(language("num_experts_per_tok", 10), HasSubstr("10 is outside [1, 9]"));
  EXPECT_THAT(language("n_group", 2), HasSubstr("2 does not divide n_routed_experts 9"));
  EXPECT_THAT(language("topk_group", 2), HasSubstr("2 is outside [1, 1]"));
  EXPECT_THAT(language("qk_rope_head_dim", 15), HasSubstr("15 is not even"));
  EXPECT_THAT(language("rms_norm_eps", 0), HasSubstr("rms_norm_eps: 0 is outside"));
  EXPECT_THAT(language("rope_scaling", {{"type", "fast"}, {"factor", 2}}),
              HasSubstr("\"fast\" is not one of linear, dynamic, yarn"));
  EXPECT_THAT(language("hidden_act", "relu"), HasSubstr("\"relu\" is not supported"));
  EXPECT_THAT(language("hidden_size", 256), HasSubstr("n_embed 128 differs"));
  EXPECT_THAT(language("moe_intermediate_size", 65), HasSubstr("config.json asks for [65, 128]"));
  const auto top = [&](const char* key, const Json& value) {
    return ErrorWithConfig([&](Json& config) { config[key] = value; });
  };
  EXPECT_THAT(top("tile_tag", "1D"), HasSubstr("\"1D\" is not supported, only \"2D\""));
  EXPECT_THAT(top("tile_tag", nullptr), HasSubstr("\"tile_tag\" is not supported"));
  EXPECT_THAT(top("global_view_pos", "tail"), HasSubstr("only \"head\""));
  EXPECT_THAT(top("vision_config", 3), HasSubstr("expected an object"));
  EXPECT_THAT(top("candidate_resolutions", Json::array()), HasSubstr("a list of 1 to"));
  EXPECT_THAT(top("candidate_resolutions", {{384, 100}}), HasSubstr("[384,100] is not made of"));
  EXPECT_EQ(ErrorWithConfig([](Json&) {}), "opened");
}

TEST_F(CheckpointTest, ModelIdNamesTheModelNotItsFiles) {
  const std::string id = Checkpoint::Open(kGolden).value()->ModelId().value();
  EXPECT_THAT(id, StartsWith("sampled-"));
  EXPECT_EQ(Checkpoint::Open(dir_).value()->ModelId().value(), id);
  // White space in config.json does not matter, a value does.
  const Json config = ReadJson("config.json");
  Write("config.json", config.dump());
  EXPECT_EQ(Checkpoint::Open(dir_).value()->ModelId().value(), id);
  Json changed = config;
  changed["language_config"]["rms_norm_eps"] = 1e-5;
  Write("config.json", changed.dump());
  EXPECT_NE(Checkpoint::Open(dir_).value()->ModelId().value(), id);
  Write("config.json", config.dump());
  // A weight's first byte does.
  auto [header, data] = ReadShard(kShard1);
  data[header["image_newline"]["data_offsets"][0].get<size_t>()] ^= 1;
  WriteShard(kShard1, header, data);
  EXPECT_NE(Checkpoint::Open(dir_).value()->ModelId().value(), id);
}

TEST(Config, PublishedDefaults) {
  // The published Base file leaves out layers, heads and latent sizes.
  const Json base = Json::parse(R"({
    "candidate_resolutions": [[384, 384]], "tile_tag": "2D",
    "language_config": {"hidden_size": 2560, "q_lora_rank": null, "topk_method": "noaux_tc",
      "n_group": 1, "topk_group": 1, "n_routed_experts": 72, "num_experts_per_tok": 6,
      "scoring_func": "sigmoid"},
    "projector_config": {"n_embed": 2560},
    "vision_config": {"layers": 27, "mlp_ratio": 3.7362, "patch_size": 14, "width": 1152}})");
  const auto config = ParseModelConfig(base, "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  const LanguageConfig& language = config->language_config;
  EXPECT_EQ(language.num_hidden_layers, 30);
  EXPECT_EQ(language.num_attention_heads, 32);
  EXPECT_EQ(language.kv_lora_rank, 512);
  EXPECT_EQ(language.qk_head_dim(), 192);
  EXPECT_FALSE(language.q_lora_rank.has_value());
  EXPECT_EQ(config->vision_config.mlp_width(), 4304);
  EXPECT_EQ(config->vision_config.heads, 16);
  EXPECT_EQ(config->tile_side(), 14);
}

}  // namespace
}  // namespace vl2
