#include "vision_service/image/image_decoder.h"

#include <algorithm>
#include <optional>

#include "runtime/base/check.h"
#include "runtime/base/status.h"
#include "vision_service/image/gif_decoder.h"
#include "vision_service/image/jpeg_decoder.h"
#include "vision_service/image/png_decoder.h"
#include "vision_service/image/tiff_decoder.h"
#include "vision_service/image/tiff_header.h"
#include "vision_service/image/webp_decoder.h"

namespace vl2 {
namespace {

absl::Status CheckSize(Size size, const ImageLimits& limits) {
  if (size.width < 1 || size.height < 1) return InvalidArgument("image of ", size, " pixels");
  if (size.width > limits.max_side || size.height > limits.max_side) {
    return InvalidArgument("image of ", size, " pixels: the limit is ", limits.max_side, " a side");
  }
  if (size.area() > limits.max_pixels) {
    return InvalidArgument("image of ", size, " = ", size.area(), " pixels: the limit is ",
                           limits.max_pixels);
  }
  return absl::OkStatus();
}

absl::Status CheckFrames(ImageFormat format, int num_frames, const ImageLimits& limits) {
  if (num_frames <= limits.max_frames) return absl::OkStatus();
  return InvalidArgument(Name(format), " of at least ", num_frames, " frames: the limit is ",
                         limits.max_frames);
}

// A file whose header has been read and checked; one of the headers is set.
struct OpenedFile {
  ImageInfo info;  // its size is the stored one
  std::optional<GifHeader> gif;
  std::optional<PngHeader> png;
  std::optional<WebpHeader> webp;
  std::optional<JpegFile> jpeg;
  std::optional<TiffFile> tiff;
};

bool Flattens(const DecodePolicy& policy) {
  return policy.alpha == DecodePolicy::Alpha::kFlattenOnWhite;
}

// The tag to act on under the policy, 1..8.
int AppliedOrientation(const ImageInfo& info, const DecodePolicy& policy) {
  const bool apply =
      policy.orientation == DecodePolicy::Orientation::kApply || info.format == ImageFormat::kTiff;
  return apply ? info.orientation : 1;
}

// ImageInfo::decoded_bytes.
int64_t DecodedBytes(const ImageInfo& info, int num_sample_bytes, int64_t held_bytes) {
  const int64_t stored_bytes = info.size.area() * info.num_bands * num_sample_bytes;
  return std::max(stored_bytes, info.size.area() * Image::kChannels + held_bytes);
}

absl::Status OpenGif(std::string_view bytes, const ImageLimits& limits, OpenedFile& file) {
  VL2_ASSIGN_OR_RETURN(const GifHeader header, ReadGifHeader(bytes, limits.max_frames));
  file.gif = header;
  ImageInfo& info = file.info;
  info.size = header.screen;
  VL2_RETURN_IF_ERROR(CheckSize(info.size, limits));
  info.num_frames = header.num_frames;
  VL2_RETURN_IF_ERROR(CheckFrames(ImageFormat::kGif, info.num_frames, limits));
  info.has_alpha = header.has_alpha();
  info.num_bands = info.has_alpha ? 4 : 3;
  // Of alpha no more is held than which colour shows what is behind.
  info.decoded_bytes = info.size.area() * 3;
  return absl::OkStatus();
}

absl::Status OpenPng(std::string_view bytes, const ImageLimits& limits, const DecodePolicy& policy,
                     OpenedFile& file) {
  ImageInfo& info = file.info;
  VL2_ASSIGN_OR_RETURN(info.size, PngHeaderSize(bytes));
  VL2_RETURN_IF_ERROR(CheckSize(info.size, limits));
  VL2_ASSIGN_OR_RETURN(const PngHeader header, ReadPngHeader(bytes));
  file.png = header;
  info.num_bands = header.num_bands();
  info.has_alpha = header.has_alpha();
  info.orientation = header.orientation;
  info.size_is_final = header.orientation_is_final || info.size.width == info.size.height ||
                       policy.orientation != DecodePolicy::Orientation::kApply;
  info.decoded_bytes = DecodedBytes(info, header.num_sample_bytes(), 0);
  return absl::OkStatus();
}

absl::Status OpenWebp(std::string_view bytes, const ImageLimits& limits, const DecodePolicy& policy,
                      OpenedFile& file) {
  VL2_ASSIGN_OR_RETURN(const WebpHeader header, ReadWebpHeader(bytes, limits.max_frames));
  VL2_RETURN_IF_ERROR(CheckFrames(ImageFormat::kWebp, header.num_frames, limits));
  file.webp = header;
  ImageInfo& info = file.info;
  info.size = header.canvas;
  VL2_RETURN_IF_ERROR(CheckSize(info.size, limits));
  info.num_frames = header.num_frames;
  info.num_bands = header.has_alpha ? 4 : 3;
  info.has_alpha = header.has_alpha;
  info.orientation = header.orientation;
  info.decoded_bytes =
      info.size.area() * 3 + header.HeldBytes(AppliedOrientation(info, policy), Flattens(policy));
  return absl::OkStatus();
}

absl::Status OpenJpeg(std::string_view bytes, const ImageLimits& limits, OpenedFile& file) {
  VL2_ASSIGN_OR_RETURN(file.jpeg, JpegFile::Open(bytes));
  ImageInfo& info = file.info;
  info.size = file.jpeg->size();
  VL2_RETURN_IF_ERROR(CheckSize(info.size, limits));
  VL2_RETURN_IF_ERROR(file.jpeg->CheckScans());
  info.num_bands = file.jpeg->num_bands();
  info.orientation = file.jpeg->orientation();
  info.decoded_bytes = DecodedBytes(info, 1, file.jpeg->HeldBytes());
  return absl::OkStatus();
}

absl::Status OpenTiff(std::string_view bytes, const ImageLimits& limits, OpenedFile& file) {
  ImageInfo& info = file.info;
  // libtiff looks for circles by comparing each directory with all before it: count first.
  VL2_ASSIGN_OR_RETURN(const TiffHeader header, ReadTiffHeader(bytes, limits.max_frames));
  VL2_RETURN_IF_ERROR(CheckFrames(info.format, header.num_frames, limits));
  if (header.is_tiled && header.block.area() > limits.max_pixels) {
    return InvalidArgument("TIFF tiles of ", header.block, " pixels, the limit is ",
                           limits.max_pixels, " pixels");
  }
  VL2_ASSIGN_OR_RETURN(file.tiff, TiffFile::Open(bytes, header));
  info.size = file.tiff->size();
  VL2_RETURN_IF_ERROR(CheckSize(info.size, limits));
  info.num_frames = file.tiff->num_frames();
  VL2_RETURN_IF_ERROR(CheckFrames(info.format, info.num_frames, limits));
  VL2_RETURN_IF_ERROR(file.tiff->ReadLayout());
  const PixelLayout& layout = file.tiff->layout();
  info.num_bands = layout.num_samples();
  info.has_alpha = layout.has_alpha;
  info.orientation = file.tiff->orientation();
  info.decoded_bytes = DecodedBytes(info, layout.is_16_bit ? 2 : 1, file.tiff->HeldBytes());
  return absl::OkStatus();
}

absl::StatusOr<OpenedFile> Open(std::string_view bytes, const ImageLimits& limits,
                                const DecodePolicy& policy) {
  if (bytes.size() > limits.max_bytes) {
    return InvalidArgument("image of ", bytes.size(), " bytes: the limit is ", limits.max_bytes);
  }
  OpenedFile file;
  VL2_ASSIGN_OR_RETURN(file.info.format, DetectFormat(bytes));
  switch (file.info.format) {
    case ImageFormat::kGif:
      VL2_RETURN_IF_ERROR(OpenGif(bytes, limits, file));
      break;
    case ImageFormat::kPng:
      VL2_RETURN_IF_ERROR(OpenPng(bytes, limits, policy, file));
      break;
    case ImageFormat::kWebp:
      VL2_RETURN_IF_ERROR(OpenWebp(bytes, limits, policy, file));
      break;
    case ImageFormat::kJpeg:
      VL2_RETURN_IF_ERROR(OpenJpeg(bytes, limits, file));
      break;
    case ImageFormat::kTiff:
      VL2_RETURN_IF_ERROR(OpenTiff(bytes, limits, file));
      break;
  }
  if (file.info.decoded_bytes > limits.max_decoded_bytes) {
    return InvalidArgument(Name(file.info.format), " of ", file.info.size, " pixels takes ",
                           file.info.decoded_bytes, " bytes decoded: the limit is ",
                           limits.max_decoded_bytes);
  }
  return file;
}

}  // namespace

absl::Status ImageLimits::Validate() const {
  if (max_bytes < 1 || max_bytes > size_t{1} << 32) {
    return InvalidArgument("image limit max_bytes = ", max_bytes, ": must be 1 to 2^32");
  }
  if (max_pixels < 1 || max_pixels > int64_t{1} << 32) {
    return InvalidArgument("image limit max_pixels = ", max_pixels, ": must be 1 to 2^32");
  }
  if (max_side < 1 || max_side > kMaxPlannedSide) {
    return InvalidArgument("image limit max_side = ", max_side, ": must be 1 to ", kMaxPlannedSide);
  }
  if (max_frames < 1 || max_frames > 1'000'000) {
    return InvalidArgument("image limit max_frames = ", max_frames, ": must be 1 to 1000000");
  }
  if (max_decoded_bytes < 1 || max_decoded_bytes > int64_t{1} << 40) {
    return InvalidArgument("image limit max_decoded_bytes = ", max_decoded_bytes,
                           ": must be 1 to 2^40");
  }
  return absl::OkStatus();
}

absl::StatusOr<ImageInfo> ImageDecoder::ReadHeader(std::string_view bytes,
                                                   const DecodePolicy& policy) const {
  VL2_ASSIGN_OR_RETURN(const OpenedFile file, Open(bytes, limits_, policy));
  ImageInfo info = file.info;
  info.size = UprightSize(info.size, AppliedOrientation(info, policy));
  return info;
}

absl::StatusOr<Image> ImageDecoder::Decode(std::string_view bytes, const DecodePolicy& policy,
                                           DecodeMeter& meter) const {
  VL2_ASSIGN_OR_RETURN(OpenedFile file, Open(bytes, limits_, policy));
  const int orientation = AppliedOrientation(file.info, policy);
  const bool clip = policy.gray16 == DecodePolicy::Gray16::kClip;
  if (file.gif.has_value()) return DecodeGif(bytes, *file.gif, Flattens(policy), meter);
  if (file.webp.has_value()) return DecodeWebp(*file.webp, orientation, Flattens(policy), meter);
  if (file.png.has_value()) {
    return DecodePng(bytes, *file.png, {orientation, Flattens(policy), clip}, meter);
  }
  if (file.jpeg.has_value()) return file.jpeg->Decode(orientation, meter);
  return file.tiff->Decode(orientation, Flattens(policy), clip, meter);
}

absl::StatusOr<Image> ImageDecoder::Decode(std::string_view bytes,
                                           const DecodePolicy& policy) const {
  DecodeMeter unlimited;
  return Decode(bytes, policy, unlimited);
}

}  // namespace vl2
