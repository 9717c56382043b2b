// What one picture costs before the vision tower sees it: decoding, resizing, cutting tiles. One
// thread.
//   image_bench [--benchmark_filter=...]
// Argument 0 is a 1000 x 800 JPEG (a web picture), argument 1 one of 12 megapixels (a telephone's).
#include <vips/vips.h>

#include <cmath>
#include <string>

#include "benchmark/benchmark.h"
#include "runtime/base/check.h"
#include "vision_service/image/preprocess.h"
#include "vision_service/image/vips_library.h"

namespace vl2 {
namespace {

Size PictureSize(int64_t which) { return which == 0 ? Size{1000, 800} : Size{4000, 3000}; }

// Shapes, gradients and noise: about 1.5 bits a pixel at quality 85, as photographs have.
Image Picture(Size size) {
  Image image(size);
  uint32_t noise = 1;
  for (int y = 0; y < size.height; ++y) {
    for (int x = 0; x < size.width; ++x) {
      uint8_t* pixel = image.row(y) + 3 * x;
      for (int c = 0; c < 3; ++c) {
        noise = noise * 1664525u + 1013904223u;
        const double wave = std::sin(x * 0.013 * (c + 1)) * std::cos(y * 0.017 + c);
        const double edge = (x / 97 + y / 61) % 2 == 0 ? 30.0 : 0.0;
        pixel[c] = static_cast<uint8_t>(120.0 + 70.0 * wave + edge + (noise >> 28));
      }
    }
  }
  return image;
}

std::string Jpeg(const Image& image) {
  VL2_CHECK(VipsLibrary::Start().ok());
  VipsImage* source = vips_image_new_from_memory(image.data(), image.num_bytes(), image.width(),
                                                 image.height(), 3, VIPS_FORMAT_UCHAR);
  void* bytes = nullptr;
  size_t num_bytes = 0;
  VL2_CHECK(vips_jpegsave_buffer(source, &bytes, &num_bytes, "Q", 85, nullptr) == 0)
      << VipsLibrary::TakeError();
  std::string jpeg(static_cast<const char*>(bytes), num_bytes);
  g_free(bytes);
  g_object_unref(source);
  return jpeg;
}

ImageProcessorConfig PublishedConfig() {
  Json config = {{"candidate_resolutions", Json::array()}};
  for (int high = 1; high <= 9; ++high) {
    for (int wide = 1; wide * high <= 9; ++wide) {
      config["candidate_resolutions"].push_back({384 * wide, 384 * high});
    }
  }
  auto parsed = ParseImageProcessorConfig(config);
  VL2_CHECK(parsed.ok()) << parsed.status();
  return *std::move(parsed);
}

void SetPixels(benchmark::State& state, Size size) {
  state.SetItemsProcessed(state.iterations() * size.area());  // pixels of the picture
}

void ReadHeader(benchmark::State& state) {
  const std::string jpeg = Jpeg(Picture(PictureSize(state.range(0))));
  const ImageDecoder decoder;
  for (auto _ : state) {
    benchmark::DoNotOptimize(decoder.ReadHeader(jpeg, DecodePolicy::Serving()));
  }
}

void Decode(benchmark::State& state) {
  const Size size = PictureSize(state.range(0));
  const std::string jpeg = Jpeg(Picture(size));
  const ImageDecoder decoder;
  for (auto _ : state) {
    const auto image = decoder.Decode(jpeg, DecodePolicy::Serving());
    VL2_CHECK(image.ok()) << image.status();
  }
  SetPixels(state, size);
}

void ResizeTo1152(benchmark::State& state) {
  const Size size = PictureSize(state.range(0));
  const Image image = Picture(size);
  const auto view = FitView(size, {1152, 1152});
  for (auto _ : state) benchmark::DoNotOptimize(Resize(image, view->resized).data());
  SetPixels(state, size);
}

void TilesOfDecoded(benchmark::State& state) {
  const Size size = PictureSize(state.range(0));
  const Image image = Picture(size);
  const ImageProcessorConfig config = PublishedConfig();
  const auto plan = PlanTiles(size, config.geometry, Tiling::Published(true));
  VL2_CHECK(plan.ok()) << plan.status();
  for (auto _ : state) {
    for (const ViewGeometry& view : {plan->global, plan->local}) {
      Canvas canvas(image, view, plan->tile_size);
      for (int row = 0; row < canvas.tiles_high(); ++row) {
        benchmark::DoNotOptimize(canvas.TileRow(row).data());
      }
    }
  }
  state.counters["tiles"] = plan->num_tiles;
  SetPixels(state, size);
}

void JpegToTiles(benchmark::State& state) {
  const Size size = PictureSize(state.range(0));
  const std::string jpeg = Jpeg(Picture(size));
  const ImagePreprocessor preprocessor(PublishedConfig());
  for (auto _ : state) {
    auto stream = preprocessor.Tiles(jpeg, DecodePolicy::Serving(), Tiling::Published(true));
    VL2_CHECK(stream.ok()) << stream.status();
    for (auto tiles = stream->Next(); !tiles.empty(); tiles = stream->Next()) {
      benchmark::DoNotOptimize(tiles.data());
    }
  }
  SetPixels(state, size);
}

void Normalize(benchmark::State& state) {
  Tile tile(384);
  for (size_t i = 0; i < tile.num_bytes(); ++i) tile.data()[i] = static_cast<uint8_t>(i * 31);
  const PixelNormalizer normalizer = PublishedConfig().normalizer();
  std::vector<float> planes(tile.num_bytes());
  for (auto _ : state) {
    NormalizeTile(tile, normalizer, planes.data());
    benchmark::DoNotOptimize(planes.data());
    benchmark::ClobberMemory();
  }
}

BENCHMARK(ReadHeader)->Arg(0)->Arg(1)->Unit(benchmark::kMicrosecond);
BENCHMARK(Decode)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);
BENCHMARK(ResizeTo1152)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);
BENCHMARK(TilesOfDecoded)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);
BENCHMARK(JpegToTiles)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);
BENCHMARK(Normalize)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace vl2

BENCHMARK_MAIN();
