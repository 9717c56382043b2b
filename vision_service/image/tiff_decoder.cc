#include "vision_service/image/tiff_decoder.h"

#include <vips/vips.h>

#include <algorithm>

#include "runtime/base/status.h"
#include "vision_service/image/vips_library.h"

namespace vl2 {
namespace {

// Rows taken from libvips at once: its own strips are of this height or less.
constexpr int kStripRows = 16;

struct Unref {
  void operator()(VipsImage* image) const { g_object_unref(image); }
  void operator()(VipsRegion* region) const { g_object_unref(region); }
};
using VipsImagePtr = std::unique_ptr<VipsImage, Unref>;
using VipsRegionPtr = std::unique_ptr<VipsRegion, Unref>;

absl::Status DecoderError() {
  const std::string text = VipsLibrary::TakeError();
  return InvalidArgument("TIFF is truncated or corrupt: ",
                         text.empty() ? "the decoder gave no reason" : text);
}

}  // namespace

struct TiffFile::Handle {
  VipsImagePtr image;
};

TiffFile::TiffFile(const TiffHeader& header)
    : header_(header), handle_(std::make_unique<Handle>()) {}
TiffFile::TiffFile(TiffFile&&) noexcept = default;
TiffFile& TiffFile::operator=(TiffFile&&) noexcept = default;
TiffFile::~TiffFile() = default;

absl::StatusOr<TiffFile> TiffFile::Open(std::string_view bytes, const TiffHeader& header) {
  VL2_RETURN_IF_ERROR(VipsLibrary::Start());
  VipsImage* image = nullptr;
  void* const data = const_cast<char*>(bytes.data());  // borrowed and only read
  if (vips_tiffload_buffer(data, bytes.size(), &image, "access", VIPS_ACCESS_SEQUENTIAL, "fail_on",
                           VIPS_FAIL_ON_TRUNCATED, nullptr) != 0) {
    return DecoderError();
  }
  TiffFile file(header);
  file.handle_->image.reset(image);
  return file;
}

Size TiffFile::size() const {
  const VipsImage* const image = handle_->image.get();
  return {vips_image_get_width(image), vips_image_get_height(image)};
}

int TiffFile::num_frames() const { return vips_image_get_n_pages(handle_->image.get()); }

int TiffFile::orientation() const {
  return std::clamp(vips_image_get_orientation(handle_->image.get()), 1, 8);
}

absl::Status TiffFile::ReadLayout() {
  const VipsImage* const image = handle_->image.get();
  const VipsBandFormat samples = vips_image_get_format(image);
  if (samples != VIPS_FORMAT_UCHAR && samples != VIPS_FORMAT_USHORT) {
    return InvalidArgument("TIFF with samples of type ",
                           vips_enum_nick(VIPS_TYPE_BAND_FORMAT, samples),
                           ": only 8 and 16 bits are accepted");
  }
  layout_.is_16_bit = samples == VIPS_FORMAT_USHORT;
  const VipsInterpretation space = vips_image_get_interpretation(image);
  switch (space) {
    case VIPS_INTERPRETATION_B_W:
    case VIPS_INTERPRETATION_GREY16:
      layout_.color = ColorModel::kGray;
      break;
    case VIPS_INTERPRETATION_RGB:
    case VIPS_INTERPRETATION_sRGB:
    case VIPS_INTERPRETATION_RGB16:
      layout_.color = ColorModel::kRgb;
      break;
    case VIPS_INTERPRETATION_CMYK:
      layout_.color = ColorModel::kCmyk;
      break;
    default:
      return InvalidArgument("TIFF in colour space ",
                             vips_enum_nick(VIPS_TYPE_INTERPRETATION, space),
                             ": only grey, RGB and CMYK are accepted");
  }
  const int num_bands = vips_image_get_bands(image);
  const int num_extra = num_bands - layout_.num_colors();
  if (num_extra != header_.num_extra || layout_.num_colors() != header_.num_colors) {
    return InvalidArgument("TIFF with ", num_bands, " channels of ", layout_.num_colors(),
                           " colours");
  }
  layout_.has_alpha = header_.alpha_at >= 0 && num_extra > 0;
  layout_.num_before_alpha = layout_.has_alpha ? header_.alpha_at : 0;
  layout_.num_ignored = num_extra - layout_.has_alpha - layout_.num_before_alpha;
  return absl::OkStatus();
}

int64_t TiffFile::HeldBytes() const {
  const VipsImage* const image = handle_->image.get();
  const auto pixel_bytes = static_cast<int64_t>(VIPS_IMAGE_SIZEOF_PEL(image));
  if (!header_.is_tiled) return header_.block.area() * pixel_bytes;
  if (header_.block.width < 1) return 0;
  // libvips keeps two rows of tiles, and one tile as libtiff gives it.
  const int64_t across = (size().width + header_.block.width - 1) / header_.block.width;
  return (2 * across + 1) * header_.block.area() * pixel_bytes;
}

absl::StatusOr<Image> TiffFile::Decode(int orientation, bool flatten_on_white,
                                       bool clip_16_bit_gray, DecodeMeter& meter) {
  PixelLayout layout = layout_;
  layout.clip_16_bit_gray = clip_16_bit_gray && !layout.has_alpha;
  layout.invert_16_bit_gray = layout.clip_16_bit_gray && header_.white_is_zero;
  const Size stored = size();
  const VipsRegionPtr region(vips_region_new(handle_->image.get()));
  Image image(UprightSize(stored, orientation));
  UprightRows rows(stored, orientation, image);
  for (int first = 0; first < stored.height; first += kStripRows) {
    VL2_RETURN_IF_ERROR(meter.Check());
    const int num_rows = std::min(kStripRows, stored.height - first);
    const VipsRect rect = {0, first, stored.width, num_rows};
    if (vips_region_prepare(region.get(), &rect) != 0) return DecoderError();
    for (int y = 0; y < num_rows; ++y) {
      const void* samples = VIPS_REGION_ADDR(region.get(), 0, first + y);
      ConvertRow(samples, stored.width, layout, flatten_on_white, rows.NextRow());
    }
  }
  rows.Finish();
  return image;
}

}  // namespace vl2
