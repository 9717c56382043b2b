// float16 checkpoints: what models get of them, bit for bit.
#include "runtime/nn/weight_loader.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/weight_conversion.h"
#include "runtime/ops/cpu/make_cpu_ops.h"

namespace vl2 {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kEmbedding[] = "language.model.embed_tokens.weight";
constexpr char kProjection[] = "language.model.layers.0.self_attn.o_proj";
constexpr char kMlp[] = "language.model.layers.0.mlp";

TEST(Float16, EveryValueIsExact) {
  for (uint32_t bits = 0; bits < (1u << 16); ++bits) {
    const float value = ToFloat(Float16{static_cast<uint16_t>(bits)});
    const int exponent = static_cast<int>((bits >> 10) & 31);
    const int fraction = static_cast<int>(bits & 1023);
    ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
    if (exponent == 31) {
      ASSERT_EQ(std::isnan(value), fraction != 0) << bits;
      ASSERT_EQ(std::isinf(value), fraction == 0) << bits;
      continue;
    }
    const double magnitude =
        exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    ASSERT_EQ(std::abs(double{value}), magnitude) << bits;
  }
}

// Bits of the float16 nearest to `value`.
uint16_t NearestHalf(float value) {
  static const auto* const magnitudes = [] {
    auto* const all = new std::vector<float>;
    for (uint16_t bits = 0; bits < 0x7c00; ++bits) all->push_back(ToFloat(Float16{bits}));
    return all;
  }();
  const float magnitude = std::abs(value);
  auto it = std::lower_bound(magnitudes->begin(), magnitudes->end() - 1, magnitude);
  if (it != magnitudes->begin() && magnitude - *(it - 1) < *it - magnitude) --it;
  const auto bits = static_cast<uint16_t>(it - magnitudes->begin());
  return static_cast<uint16_t>(bits | (std::signbit(value) ? 0x8000 : 0));
}

TEST(ConvertWeights, RoundsToNearestEvenAndSaysWhatItLost) {
  // 1 + 1/256 and 1 + 3/256 lie between two bfloat16 each: ties go to the even one.
  const std::vector<float> values = {1.0f,
                                     1.00390625f,
                                     1.01171875f,
                                     -0.0f,
                                     65504.0f,
                                     0x1p-24f,
                                     std::numeric_limits<float>::infinity(),
                                     NAN};
  std::vector<Float16> halves;
  for (const float value : values) {
    halves.push_back({std::isnan(value)   ? uint16_t{0x7e00}
                      : std::isinf(value) ? uint16_t{0x7c00}
                                          : NearestHalf(value)});
  }
  const TensorView view = {DType::kF16, Shape({static_cast<int64_t>(values.size())}),
                           reinterpret_cast<const std::byte*>(halves.data())};
  ConversionLoss loss;
  const Tensor rounded = ConvertWeights(view, DType::kBF16, loss);
  std::vector<float> got;
  for (size_t i = 0; i < values.size(); ++i) got.push_back(ToFloat(rounded.data<BFloat16>()[i]));
  EXPECT_EQ(got[0], 1.0f);
  EXPECT_EQ(got[1], 1.0f);
  EXPECT_EQ(got[2], 1.015625f);
  EXPECT_TRUE(got[3] == 0 && std::signbit(got[3]));
  EXPECT_EQ(got[4], 65536.0f);
  EXPECT_EQ(got[5], 0x1p-24f);  // a subnormal float16 is an ordinary bfloat16
  EXPECT_TRUE(std::isinf(got[6]));
  EXPECT_TRUE(std::isnan(got[7]));
  EXPECT_NEAR(loss.largest_relative_error, 0.00390625 / 1.00390625, 1e-9);
  EXPECT_EQ(loss.num_not_finite, 2);

  ConversionLoss none;
  const Tensor exact = ConvertWeights(view, DType::kF32, none);
  for (size_t i = 0; i + 1 < values.size(); ++i) EXPECT_EQ(exact.data<float>()[i], values[i]) << i;
  EXPECT_EQ(none.largest_relative_error, 0);
  EXPECT_EQ(none.num_not_finite, 2);
}

// A golden checkpoint whose tensors are float16 where `is_half` says so. Its bfloat16 values are
// exact in float16 and back; with `odd_bits` set in each value, they are not.
class HalfCheckpoint {
 public:
  HalfCheckpoint(const std::function<bool(const std::string&)>& is_half, uint16_t odd_bits) {
    dir_ = fs::temp_directory_path() / Cat("vl2_half_checkpoint_", getpid());
    fs::remove_all(dir_);
    fs::copy(VL2_TEST_DATA "/golden/data/checkpoints/tiny_mha", dir_);
    for (const auto& entry : fs::directory_iterator(dir_)) {
      fs::permissions(entry.path(), fs::perms::owner_all);
      if (entry.path().extension() == ".safetensors") Convert(entry.path(), is_half, odd_bits);
    }
  }
  ~HalfCheckpoint() { fs::remove_all(dir_); }

  std::unique_ptr<Checkpoint> Open(WeightType weights) const {
    return Checkpoint::Open(dir_, weights).value();
  }

 private:
  // A bfloat16 and a float16 take the same room: only bits and names of types change.
  static void Convert(const fs::path& path, const std::function<bool(const std::string&)>& is_half,
                      uint16_t odd_bits) {
    std::string bytes = ReadFile(path, size_t{1} << 30).value();
    uint64_t length;
    std::memcpy(&length, bytes.data(), 8);
    Json header = Json::parse(bytes.substr(8, length));
    std::string data = bytes.substr(8 + length);
    for (auto& [name, entry] : header.items()) {
      if (name == "__metadata__" || entry["dtype"] != "BF16" || !is_half(name)) continue;
      entry["dtype"] = "F16";
      const auto begin = entry["data_offsets"][0].get<size_t>();
      const auto end = entry["data_offsets"][1].get<size_t>();
      for (size_t at = begin; at < end; at += 2) {
        BFloat16 value;
        std::memcpy(&value, data.data() + at, 2);
        const auto half = static_cast<uint16_t>(NearestHalf(ToFloat(value)) | odd_bits);
        std::memcpy(data.data() + at, &half, 2);
      }
    }
    const std::string text = header.dump();
    length = text.size();
    std::ofstream(path, std::ios::binary)
        << std::string(reinterpret_cast<const char*>(&length), 8) << text << data;
  }

  fs::path dir_;
};

// What a linear layer gives for some input.
std::vector<float> Product(Ops& ops, const LinearWeight& weight) {
  std::vector<float> x(static_cast<size_t>(weight.in_features()));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) - 3;
  std::vector<float> out(static_cast<size_t>(weight.out_features()));
  LinearArgs args;
  args.x = OnHost(HostMatrix(x.data(), 1, weight.in_features()));
  args.weight = &weight;
  args.out = OnHost(HostMatrix(out.data(), 1, weight.out_features()));
  ops.Linear(args);
  return out;
}

TEST(WeightLoader, TakesFloat16AsBFloat16OrAsFloat32) {
  const HalfCheckpoint half([](const std::string&) { return true; }, 1);
  ThreadPool pool(1);
  const auto ops = MakeCpuOps(&pool);
  for (const WeightType weights : {WeightType::kStored, WeightType::kF32}) {
    const auto checkpoint = half.Open(weights);
    const bool rounds = weights == WeightType::kStored;
    EXPECT_EQ(checkpoint->KeptType(kEmbedding), rounds ? DType::kBF16 : DType::kF32);
    ::testing::internal::CaptureStderr();
    {
      WeightLoader loader(*checkpoint, *ops);
      const DeviceTensor device_table = loader.Table(kEmbedding);
      const ConstMatrix table = device_table.matrix();
      const TensorView stored = checkpoint->View(kEmbedding);
      ASSERT_EQ(stored.dtype, DType::kF16);
      const std::vector<float> exact = checkpoint->Floats(kEmbedding);
      for (size_t i = 0; i < exact.size(); ++i) {
        Float16 value;
        std::memcpy(&value, stored.bytes + 2 * i, 2);
        ASSERT_EQ(exact[i], ToFloat(value));
        const float kept =
            rounds ? ToFloat(table.As<BFloat16>().data[i]) : table.As<float>().data[i];
        ASSERT_EQ(kept, rounds ? ToFloat(ToBFloat16(exact[i])) : exact[i]) << i;
      }
      // A norm's weight is float32 everywhere.
      const RmsNormLayer norm = loader.RmsNorm("language.model.norm", 1e-6);
      const std::vector<float> weight = checkpoint->Floats("language.model.norm.weight");
      EXPECT_EQ(std::vector<float>(norm.weight.Floats(), norm.weight.Floats() + weight.size()),
                weight);
      loader.Linear(kProjection, false);
      loader.Mlp(kMlp);
    }
    const std::string log = ::testing::internal::GetCapturedStderr();
    EXPECT_THAT(log, AllOf(HasSubstr("float16 weights converted"),
                           HasSubstr("largest_relative_error="), HasSubstr("tensors=6")));
    EXPECT_EQ(log.find("largest_relative_error=0 ") != std::string::npos, !rounds) << log;
  }
}

TEST(WeightLoader, GivesTheSameProductsFromEitherFile) {
  const auto plain = Checkpoint::Open(VL2_TEST_DATA "/golden/data/checkpoints/tiny_mha").value();
  const HalfCheckpoint half([](const std::string&) { return true; }, 0);
  const auto converted = half.Open(WeightType::kStored);
  ThreadPool pool(1);
  const auto ops = MakeCpuOps(&pool);
  WeightLoader from_plain(*plain, *ops);
  WeightLoader from_half(*converted, *ops);
  const auto expected = Product(*ops, *from_plain.Linear(kProjection, false).weight);
  const auto got = Product(*ops, *from_half.Linear(kProjection, false).weight);
  EXPECT_EQ(got, expected);
}

TEST(WeightLoader, TakesBothTypesSideBySide) {
  const HalfCheckpoint half(
      [](const std::string& name) { return name.find("gate_proj") != std::string::npos; }, 1);
  ThreadPool pool(1);
  const auto ops = MakeCpuOps(&pool);
  for (const WeightType weights : {WeightType::kStored, WeightType::kF32}) {
    const auto checkpoint = half.Open(weights);
    WeightLoader loader(*checkpoint, *ops);
    EXPECT_NE(loader.Mlp(kMlp).gate_up, nullptr);
  }
}

}  // namespace
}  // namespace vl2
