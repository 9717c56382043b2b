#include "vision_service/image/webp_decoder.h"

#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
#include <memory>

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/status.h"
#include "vision_service/image/exif_orientation.h"
#include "vision_service/image/pixel_rows.h"

namespace vl2 {
namespace {

constexpr int kRowsPerCheck = 64;

struct DeleteDemuxer {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};
struct DeleteDecoder {
  void operator()(WebPIDecoder* decoder) const { WebPIDelete(decoder); }
};

absl::Status Corrupt(std::string_view what) {
  return InvalidArgument("WebP is truncated or corrupt: ", what);
}

// Animation frames, counted up to `max_frames` + 1 by walking over the chunks: the demultiplexer
// would keep a record of each.
int CountFrames(std::string_view bytes, int max_frames) {
  int num_frames = 0;
  size_t at = 12;
  while (at + 8 <= bytes.size() && num_frames <= max_frames) {
    uint32_t length = 0;
    for (size_t i = 4; i-- > 0;) length = length << 8 | static_cast<uint8_t>(bytes[at + 4 + i]);
    if (bytes.substr(at, 4) == "ANMF") ++num_frames;
    at += 8 + size_t{length} + (length & 1);
  }
  return num_frames;
}

int ReadOrientation(WebPDemuxer* demuxer) {
  WebPChunkIterator chunk;
  if (WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk) == 0) return 1;
  const int orientation =
      ExifOrientation({reinterpret_cast<const char*>(chunk.chunk.bytes), chunk.chunk.size});
  WebPDemuxReleaseChunkIterator(&chunk);
  return orientation;
}

// The frame as RGB or, with alpha, RGBA, to `out`, rows without a gap.
absl::Status DecodeFrame(const WebpHeader& header, bool with_alpha, uint8_t* out,
                         DecodeMeter& meter) {
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) return absl::InternalError("libwebp's version differs");
  const int num_channels = with_alpha ? 4 : 3;
  config.output.colorspace = with_alpha ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.width = header.frame.width;
  config.output.height = header.frame.height;
  config.output.u.RGBA.rgba = out;
  config.output.u.RGBA.stride = header.frame.width * num_channels;
  config.output.u.RGBA.size =
      static_cast<size_t>(header.frame.area()) * static_cast<size_t>(num_channels);
  const auto* const data = reinterpret_cast<const uint8_t*>(header.frame_bytes.data());
  const size_t size = header.frame_bytes.size();
  const std::unique_ptr<WebPIDecoder, DeleteDecoder> decoder(WebPIDecode(nullptr, 0, &config));
  if (decoder == nullptr) return absl::ResourceExhaustedError("no memory for a WebP decoder");
  VP8StatusCode code = VP8_STATUS_SUSPENDED;
  for (size_t end = 0; end < size && code == VP8_STATUS_SUSPENDED;) {
    VL2_RETURN_IF_ERROR(meter.Check());
    end += std::min(size - end, kWebpStepBytes);
    code = WebPIUpdate(decoder.get(), data, end);
  }
  VL2_RETURN_IF_ERROR(meter.Check());
  if (code == VP8_STATUS_SUSPENDED) return Corrupt("the frame ends too early");
  if (code != VP8_STATUS_OK) return Corrupt(Cat("libwebp's code ", static_cast<int>(code)));
  return absl::OkStatus();
}

}  // namespace

int64_t WebpHeader::HeldBytes(int orientation, bool flatten_on_white) const {
  const bool with_alpha = flatten_on_white && has_alpha;
  int64_t per_pixel = IsPlain(orientation, flatten_on_white) ? 0 : with_alpha ? 4 : 3;
  if (is_lossless) {
    per_pixel += 4;  // its own colours, all of them
  } else if (frame_has_alpha && with_alpha) {
    per_pixel += 1;  // the alpha plane
  }
  return per_pixel * frame.area();
}

absl::StatusOr<WebpHeader> ReadWebpHeader(std::string_view bytes, int max_frames) {
  WebpHeader header;
  header.num_frames = CountFrames(bytes, max_frames);
  if (header.num_frames > max_frames) return header;
  const WebPData data = {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  const std::unique_ptr<WebPDemuxer, DeleteDemuxer> demuxer(WebPDemux(&data));
  if (demuxer == nullptr) return Corrupt(Cat("not whole in ", bytes.size(), " bytes"));
  header.canvas = {static_cast<int>(WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH)),
                   static_cast<int>(WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT))};
  const uint32_t flags = WebPDemuxGetI(demuxer.get(), WEBP_FF_FORMAT_FLAGS);
  header.orientation = ReadOrientation(demuxer.get());

  WebPIterator frame;
  if (WebPDemuxGetFrame(demuxer.get(), 1, &frame) == 0) return Corrupt("no frame");
  header.num_frames = frame.num_frames;
  header.frame_x = frame.x_offset;
  header.frame_y = frame.y_offset;
  header.frame = {frame.width, frame.height};
  header.frame_bytes = {reinterpret_cast<const char*>(frame.fragment.bytes), frame.fragment.size};
  WebPBitstreamFeatures features;
  const VP8StatusCode code = WebPGetFeatures(frame.fragment.bytes, frame.fragment.size, &features);
  WebPDemuxReleaseIterator(&frame);
  if (code != VP8_STATUS_OK) return Corrupt("no frame header");
  header.frame_has_alpha = features.has_alpha != 0;
  header.is_lossless = features.format == 2;
  header.has_alpha =
      (flags & ALPHA_FLAG) != 0 || ((flags & ANIMATION_FLAG) == 0 && header.frame_has_alpha);
  if (header.frame != Size{features.width, features.height} || header.frame_x < 0 ||
      header.frame_y < 0 || header.frame_x > header.canvas.width - header.frame.width ||
      header.frame_y > header.canvas.height - header.frame.height) {
    return Corrupt(Cat("a frame of ", features.width, " x ", features.height, " pixels at ",
                       header.frame_x, ", ", header.frame_y, " on a canvas of ",
                       header.canvas.width, " x ", header.canvas.height));
  }
  return header;
}

absl::StatusOr<Image> DecodeWebp(const WebpHeader& header, int orientation, bool flatten_on_white,
                                 DecodeMeter& meter) {
  const bool with_alpha = flatten_on_white && header.has_alpha;
  if (header.IsPlain(orientation, flatten_on_white)) {
    Image image(header.canvas);
    VL2_RETURN_IF_ERROR(DecodeFrame(header, false, image.data(), meter));
    return image;
  }
  const PixelLayout layout = {.color = ColorModel::kRgb, .has_alpha = with_alpha};
  const size_t row_bytes =
      static_cast<size_t>(header.frame.width) * static_cast<size_t>(layout.num_samples());
  AlignedBuffer pixels(row_bytes * static_cast<size_t>(header.frame.height));
  auto* const frame = reinterpret_cast<uint8_t*>(pixels.data());
  VL2_RETURN_IF_ERROR(DecodeFrame(header, with_alpha, frame, meter));
  Image image(UprightSize(header.canvas, orientation));
  UprightRows rows(header.canvas, orientation, image);
  for (int y = 0; y < header.canvas.height; ++y) {
    if (y % kRowsPerCheck == 0) VL2_RETURN_IF_ERROR(meter.Check());
    uint8_t* const row = rows.NextRow();
    const int frame_row = y - header.frame_y;
    if (header.frame != header.canvas) {
      std::fill_n(row, 3 * static_cast<size_t>(header.canvas.width), with_alpha ? 255 : 0);
    }
    if (frame_row < 0 || frame_row >= header.frame.height) continue;
    ConvertRow(frame + row_bytes * static_cast<size_t>(frame_row), header.frame.width, layout,
               flatten_on_white, row + 3 * header.frame_x);
  }
  rows.Finish();
  return image;
}

}  // namespace vl2
