#include "vision_service/image/png_decoder.h"

#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "vision_service/image/exif_orientation.h"
#include "vision_service/image/pixel_rows.h"

namespace vl2 {
namespace {

constexpr size_t kSignatureBytes = 8;
constexpr size_t kChunkFrameBytes = 12;  // length, kind, checksum
// More is no directory of tags; libpng's own reading stops there too.
constexpr size_t kMaxExifBytes = 65536;
constexpr int kRowsPerCheck = 16;

uint32_t BigEndian(std::string_view bytes, size_t offset) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[offset + i]);
  return value;
}

struct Chunk {
  std::string_view kind;
  std::string_view data;  // as far as it is there
  bool whole = false;     // checksum included
};

// Walks over the chunks by their lengths.
class ChunkWalk {
 public:
  explicit ChunkWalk(std::string_view bytes) : bytes_(bytes) {}

  // False when not even the next chunk's kind is there.
  bool Next(Chunk& chunk) {
    if (at_ > bytes_.size() || bytes_.size() - at_ < 8) return false;
    const size_t length = BigEndian(bytes_, at_);
    chunk.kind = bytes_.substr(at_ + 4, 4);
    chunk.data = bytes_.substr(at_ + 8, length);
    chunk.whole = bytes_.size() - at_ >= kChunkFrameBytes + length;
    at_ += kChunkFrameBytes + length;
    return true;
  }

  // REQUIRES: chunk is whole and is the last one that Next gave.
  static bool ChecksumIsRight(const Chunk& chunk) {
    const auto* const begin = reinterpret_cast<const Bytef*>(chunk.kind.data());
    const auto size = static_cast<uInt>(4 + chunk.data.size());
    const std::string_view all(chunk.kind.data(), 8 + chunk.data.size());
    return crc32(crc32(0, nullptr, 0), begin, size) == BigEndian(all, size);
  }

 private:
  std::string_view bytes_;
  size_t at_ = kSignatureBytes;
};

// One run of libpng. Its errors jump: between setjmp and the calls that may fail, no object with a
// destructor comes to life in these functions' frames.
class PngReader {
 public:
  PngReader(std::string_view bytes, DecodeMeter& meter) : bytes_(bytes), meter_(meter) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, &PngReader::OnError,
                                  [](png_structp, png_const_charp) {});
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
  }
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  // Up to the first row; sets up that rows come as bytes or native 16-bit samples, palettes as
  // indices.
  bool Begin(const PngHeader& header) {
    if (info_ == nullptr || setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_read_fn(png_, this, &PngReader::OnRead);
    // All that is known and makes no pixels, and all that is unknown.
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // the caller has checked
    png_read_info(png_, info_);
    if (header.color_type == PNG_COLOR_TYPE_PALETTE) {
      png_set_packing(png_);
    } else {
      if (header.bit_depth < 8) png_set_expand_gray_1_2_4_to_8(png_);
      if (png_get_valid(png_, info_, PNG_INFO_tRNS) != 0) png_set_tRNS_to_alpha(png_);
      if (header.bit_depth == 16) png_set_swap(png_);
    }
    png_read_update_info(png_, info_);
    return true;
  }

  bool ReadRow(uint8_t* row) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_read_row(png_, row, nullptr);
    return true;
  }

  size_t row_bytes() const { return png_get_rowbytes(png_, info_); }
  int num_channels() const { return png_get_channels(png_, info_); }
  png_structp png() const { return png_; }
  png_infop info() const { return info_; }
  absl::Status Error() const {
    if (const absl::Status status = meter_.Check(); !status.ok()) return status;
    return InvalidArgument("PNG is truncated or corrupt: ",
                           message_.empty() ? "the decoder gave no reason" : message_);
  }

 private:
  static void OnError(png_structp png, png_const_charp message) {
    auto* const reader = static_cast<PngReader*>(png_get_error_ptr(png));
    reader->message_.assign(message, std::min<size_t>(std::strlen(message), 200));
    png_longjmp(png, 1);
  }
  static void OnRead(png_structp png, png_bytep out, size_t size) {
    auto* const reader = static_cast<PngReader*>(png_get_io_ptr(png));
    // Asked here too: image data may go on for ever behind the last row.
    if (!reader->meter_.Check().ok()) png_error(png, "stopped");
    if (size > reader->bytes_.size() - reader->at_) png_error(png, "the bytes end too early");
    std::memcpy(out, reader->bytes_.data() + reader->at_, size);
    reader->at_ += size;
  }

  const std::string_view bytes_;
  DecodeMeter& meter_;
  size_t at_ = 0;
  std::string message_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

// The colours of a palette picture with what is transparent blended or not.
using Colors = std::array<std::array<uint8_t, 3>, 256>;
Colors PaletteColors(const PngReader& reader, bool flatten_on_white) {
  png_colorp palette = nullptr;
  png_bytep alphas = nullptr;
  int num_colors = 0, num_alphas = 0;
  png_get_PLTE(reader.png(), reader.info(), &palette, &num_colors);
  png_get_tRNS(reader.png(), reader.info(), &alphas, &num_alphas, nullptr);
  Colors colors;
  for (int i = 0; i < 256; ++i) {
    const auto level = static_cast<uint8_t>(i);
    const bool listed = i < num_colors;
    const uint8_t alpha = i < num_alphas ? alphas[i] : uint8_t{255};
    const uint8_t rgba[4] = {listed ? palette[i].red : level, listed ? palette[i].green : level,
                             listed ? palette[i].blue : level, alpha};
    ConvertRow(rgba, 1, {.color = ColorModel::kRgb, .has_alpha = true}, flatten_on_white,
               colors[static_cast<size_t>(i)].data());
  }
  return colors;
}

// Turns libpng's rows into RGB.
class RowConverter {
 public:
  RowConverter(const PngReader& reader, const PngHeader& header, const PngRendering& rendering)
      : is_palette_(header.color_type == PNG_COLOR_TYPE_PALETTE),
        flatten_on_white_(rendering.flatten_on_white) {
    if (is_palette_) {
      colors_ = PaletteColors(reader, flatten_on_white_);
      return;
    }
    layout_.color =
        (header.color_type & PNG_COLOR_MASK_COLOR) != 0 ? ColorModel::kRgb : ColorModel::kGray;
    layout_.is_16_bit = header.bit_depth == 16;
    layout_.clip_16_bit_gray = rendering.clip_16_bit_gray && header.color_type == 0;
    layout_.has_alpha = reader.num_channels() > layout_.num_colors();
  }

  void Convert(const uint8_t* row, int width, uint8_t* rgb) const {
    if (!is_palette_) return ConvertRow(row, width, layout_, flatten_on_white_, rgb);
    for (int x = 0; x < width; ++x, rgb += 3) std::copy_n(colors_[row[x]].data(), 3, rgb);
  }

 private:
  const bool is_palette_;
  const bool flatten_on_white_;
  PixelLayout layout_;
  Colors colors_;
};

absl::Status ReadRows(PngReader& reader, const PngHeader& header, const RowConverter& converter,
                      int orientation, DecodeMeter& meter, Image& image) {
  UprightRows rows(header.size, orientation, image);
  std::vector<uint8_t> row(reader.row_bytes());
  for (int y = 0; y < header.size.height; ++y) {
    if (y % kRowsPerCheck == 0) VL2_RETURN_IF_ERROR(meter.Check());
    if (!reader.ReadRow(row.data())) return reader.Error();
    converter.Convert(row.data(), header.size.width, rows.NextRow());
  }
  rows.Finish();
  return absl::OkStatus();
}

// The seven passes of an interlaced file, each a small picture of its own, pixel by pixel to their
// places: libpng would hold the whole picture to put them together.
absl::Status ReadPasses(PngReader& reader, const PngHeader& header, const RowConverter& converter,
                        int orientation, DecodeMeter& meter, Image& image) {
  const UprightPlaces places = MakeUprightPlaces(header.size, orientation, image);
  std::vector<uint8_t> row(reader.row_bytes());
  std::vector<uint8_t> rgb(static_cast<size_t>(header.size.width) * 3);
  for (int pass = 0; pass < PNG_INTERLACE_ADAM7_PASSES; ++pass) {
    const auto columns =
        static_cast<int>(PNG_PASS_COLS(static_cast<uint32_t>(header.size.width), pass));
    const auto num_rows =
        static_cast<int>(PNG_PASS_ROWS(static_cast<uint32_t>(header.size.height), pass));
    if (columns == 0) continue;
    for (int i = 0; i < num_rows; ++i) {
      if (i % kRowsPerCheck == 0) VL2_RETURN_IF_ERROR(meter.Check());
      if (!reader.ReadRow(row.data())) return reader.Error();
      converter.Convert(row.data(), columns, rgb.data());
      const int y = PNG_ROW_FROM_PASS_ROW(i, pass);
      uint8_t* out = places.At(PNG_PASS_START_COL(pass), y);
      const ptrdiff_t step = places.step_x * PNG_PASS_COL_OFFSET(pass);
      for (int x = 0; x < columns; ++x, out += step) std::copy_n(&rgb[3 * size_t(x)], 3, out);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Size> PngHeaderSize(std::string_view bytes) {
  if (bytes.size() < 33 || bytes.substr(12, 4) != "IHDR") {
    return InvalidArgument("PNG is truncated or corrupt: no header chunk in ", bytes.size(),
                           " bytes");
  }
  const auto side = [bytes](size_t offset) {
    return static_cast<int>(
        std::min<uint32_t>(BigEndian(bytes, offset), std::numeric_limits<int>::max()));
  };
  return Size{side(16), side(20)};
}

absl::StatusOr<PngHeader> ReadPngHeader(std::string_view bytes) {
  PngHeader header;
  VL2_ASSIGN_OR_RETURN(header.size, PngHeaderSize(bytes));
  header.bit_depth = static_cast<uint8_t>(bytes[24]);
  header.color_type = static_cast<uint8_t>(bytes[25]);
  header.interlaced = bytes[28] != 0;
  bool has_data = false;
  ChunkWalk walk(bytes);
  for (Chunk chunk; walk.Next(chunk);) {
    if (chunk.kind == "IDAT") {
      has_data = true;
    } else if (chunk.kind == "tRNS" && !has_data) {
      header.has_transparency = true;
    } else if (chunk.kind == "IEND") {
      header.orientation_is_final = true;
      break;
    } else if (chunk.kind == "eXIf" && chunk.whole && chunk.data.size() <= kMaxExifBytes &&
               ChunkWalk::ChecksumIsRight(chunk)) {
      header.orientation = ExifOrientation(chunk.data);
    }
  }
  if (!has_data) {
    return InvalidArgument("PNG is truncated or corrupt: no image data in ", bytes.size(),
                           " bytes");
  }
  return header;
}

absl::StatusOr<Image> DecodePng(std::string_view bytes, const PngHeader& header,
                                const PngRendering& rendering, DecodeMeter& meter) {
  PngReader reader(bytes, meter);
  if (!reader.Begin(header)) return reader.Error();
  const RowConverter converter(reader, header, rendering);
  Image image(UprightSize(header.size, rendering.orientation));
  VL2_RETURN_IF_ERROR((header.interlaced ? ReadPasses : ReadRows)(
      reader, header, converter, rendering.orientation, meter, image));
  return image;
}

}  // namespace vl2
