#include "vision_service/image/jpeg_decoder.h"

#include <cstdio>
// libjpeg's header needs the one above.
#include <jpeglib.h>

#include <jerror.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/status.h"
#include "vision_service/image/exif_orientation.h"
#include "vision_service/image/pixel_rows.h"

namespace vl2 {
namespace {

using namespace std::string_view_literals;

constexpr int kRowsPerCheck = 16;

int ByteAt(std::string_view bytes, size_t at) { return static_cast<uint8_t>(bytes[at]); }

// Number of scans, counted up to kMaxScans + 1.
int CountScans(std::string_view bytes) {
  // Inside entropy-coded data 0xff is followed by 0x00 or by a restart marker, so the pair 0xff
  // 0xda outside of a segment's payload starts a scan. Payloads are skipped by their length.
  int scans = 0;
  size_t at = 2;
  while (at + 1 < bytes.size() && scans <= JpegFile::kMaxScans) {
    const void* found = std::memchr(bytes.data() + at, 0xff, bytes.size() - at - 1);
    if (found == nullptr) break;
    at = static_cast<size_t>(static_cast<const char*>(found) - bytes.data());
    const int marker = ByteAt(bytes, at + 1);
    if (marker == 0xff) {  // fill byte
      ++at;
      continue;
    }
    at += 2;
    if (marker == 0xd9) break;
    if (marker == 0xda) ++scans;
    const bool has_payload = marker >= 0xc0 && !(marker >= 0xd0 && marker <= 0xd9);
    if (has_payload && at + 2 <= bytes.size()) {
      const int length = ByteAt(bytes, at) << 8 | ByteAt(bytes, at + 1);
      at += std::max<size_t>(static_cast<size_t>(length), 2);
    }
  }
  return scans;
}

}  // namespace

// One run of libjpeg. Its errors jump: between setjmp and the calls that may fail, no object with a
// destructor comes to life in these functions' frames.
class JpegFile::Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {
    message_.reserve(JMSG_LENGTH_MAX);
    info_.err = jpeg_std_error(&errors_);
    errors_.error_exit = [](j_common_ptr info) { Of(info)->Fail(info); };
    errors_.emit_message = [](j_common_ptr, int) {};
    errors_.output_message = [](j_common_ptr) {};
    info_.client_data = this;
  }
  ~Reader() {
    if (created_) jpeg_destroy_decompress(&info_);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  bool ReadHeader() {
    if (setjmp(jump_) != 0) return false;
    jpeg_create_decompress(&info_);
    created_ = true;
    info_.client_data = this;
    source_.init_source = [](j_decompress_ptr) {};
    source_.term_source = [](j_decompress_ptr) {};
    source_.resync_to_restart = jpeg_resync_to_restart;
    // A file that ends too early is no picture, and never one with a grey lower half.
    source_.fill_input_buffer = [](j_decompress_ptr info) -> boolean {
      ERREXIT(info, JERR_INPUT_EOF);
      return FALSE;
    };
    source_.skip_input_data = [](j_decompress_ptr info, long count) {
      if (count <= 0) return;
      if (static_cast<size_t>(count) > info->src->bytes_in_buffer) ERREXIT(info, JERR_INPUT_EOF);
      info->src->next_input_byte += count;
      info->src->bytes_in_buffer -= static_cast<size_t>(count);
    };
    source_.next_input_byte = reinterpret_cast<const JOCTET*>(bytes_.data());
    source_.bytes_in_buffer = bytes_.size();
    info_.src = &source_;
    progress_.progress_monitor = [](j_common_ptr info) {
      Reader* const reader = Of(info);
      if (reader->meter_ != nullptr && !reader->meter_->Check().ok()) longjmp(reader->jump_, 1);
    };
    jpeg_read_header(&info_, TRUE);
    return true;
  }

  // Up to the first row. The colours come as grey, RGB or inks.
  bool Begin(DecodeMeter& meter) {
    if (setjmp(jump_) != 0) return false;
    meter_ = &meter;
    info_.progress = &progress_;
    jpeg_start_decompress(&info_);
    return true;
  }
  bool ReadRow(uint8_t* row) {
    if (setjmp(jump_) != 0) return false;
    jpeg_read_scanlines(&info_, &row, 1);
    return true;
  }
  // Looks for the end of the file.
  bool Finish() {
    if (setjmp(jump_) != 0) return false;
    jpeg_finish_decompress(&info_);
    return true;
  }

  absl::Status Error() const {
    if (meter_ != nullptr) VL2_RETURN_IF_ERROR(meter_->Check());
    return InvalidArgument("JPEG is truncated or corrupt: ",
                           message_.empty() ? "the decoder gave no reason" : message_);
  }
  std::string_view bytes() const { return bytes_; }
  jpeg_decompress_struct& info() { return info_; }

 private:
  static Reader* Of(j_common_ptr info) { return static_cast<Reader*>(info->client_data); }
  [[noreturn]] void Fail(j_common_ptr info) {
    char text[JMSG_LENGTH_MAX];
    errors_.format_message(info, text);
    message_ = text;
    longjmp(jump_, 1);
  }

  const std::string_view bytes_;
  jpeg_decompress_struct info_ = {};
  jpeg_error_mgr errors_ = {};
  jpeg_source_mgr source_ = {};
  jpeg_progress_mgr progress_ = {};
  jmp_buf jump_;
  bool created_ = false;
  DecodeMeter* meter_ = nullptr;
  std::string message_;
};

JpegFile::JpegFile(std::unique_ptr<Reader> reader) : reader_(std::move(reader)) {}
JpegFile::JpegFile(JpegFile&&) noexcept = default;
JpegFile& JpegFile::operator=(JpegFile&&) noexcept = default;
JpegFile::~JpegFile() = default;

absl::StatusOr<JpegFile> JpegFile::Open(std::string_view bytes) {
  auto reader = std::make_unique<Reader>(bytes);
  if (!reader->ReadHeader()) return reader->Error();
  jpeg_decompress_struct& info = reader->info();
  switch (info.num_components) {
    case 1:
      info.out_color_space = JCS_GRAYSCALE;
      break;
    case 3:
      info.out_color_space = JCS_RGB;
      break;
    case 4:
      info.out_color_space = JCS_CMYK;
      break;
    default:
      return InvalidArgument("JPEG with ", info.num_components,
                             " components: only grey, RGB and CMYK are accepted");
  }
  return JpegFile(std::move(reader));
}

Size JpegFile::size() const {
  return {static_cast<int>(reader_->info().image_width),
          static_cast<int>(reader_->info().image_height)};
}

int JpegFile::num_bands() const { return reader_->info().num_components; }

int JpegFile::orientation() const { return ExifOrientation(FindJpegExif(reader_->bytes())); }

int64_t JpegFile::HeldBytes() const {
  jpeg_decompress_struct& info = reader_->info();
  if (!jpeg_has_multiple_scans(&info)) return 0;
  int64_t num_blocks = 0;
  for (int i = 0; i < info.num_components; ++i) {
    const jpeg_component_info& component = info.comp_info[i];
    const auto whole = [](JDIMENSION blocks, int factor) {
      return (static_cast<int64_t>(blocks) + factor - 1) / factor * factor;
    };
    num_blocks += whole(component.width_in_blocks, component.h_samp_factor) *
                  whole(component.height_in_blocks, component.v_samp_factor);
  }
  return num_blocks * static_cast<int64_t>(sizeof(JBLOCK));
}

absl::Status JpegFile::CheckScans() const {
  const int num_scans = CountScans(reader_->bytes());
  if (num_scans > kMaxScans || num_scans * size().area() > kMaxScanPixels) {
    return InvalidArgument("JPEG of ", size(), " pixels in ", num_scans,
                           " or more scans: the limits are ", kMaxScans, " scans and ",
                           kMaxScanPixels, " pixels times scans");
  }
  return absl::OkStatus();
}

absl::StatusOr<Image> JpegFile::Decode(int orientation, DecodeMeter& meter) {
  const Size stored = size();
  if (!reader_->Begin(meter)) return reader_->Error();
  PixelLayout layout;
  layout.color = num_bands() == 1   ? ColorModel::kGray
                 : num_bands() == 3 ? ColorModel::kRgb
                                    : ColorModel::kCmyk;
  std::vector<uint8_t> row(static_cast<size_t>(stored.width) *
                           static_cast<size_t>(layout.num_samples()));
  Image image(UprightSize(stored, orientation));
  UprightRows rows(stored, orientation, image);
  for (int y = 0; y < stored.height; ++y) {
    if (y % kRowsPerCheck == 0) VL2_RETURN_IF_ERROR(meter.Check());
    if (!reader_->ReadRow(row.data())) return reader_->Error();
    if (layout.color == ColorModel::kCmyk) {
      for (uint8_t& ink : row) ink = static_cast<uint8_t>(255 - ink);
    }
    ConvertRow(row.data(), stored.width, layout, false, rows.NextRow());
  }
  rows.Finish();
  if (!reader_->Finish()) return reader_->Error();
  return image;
}

std::string_view FindJpegExif(std::string_view jpeg) {
  size_t at = 2;
  while (at + 4 <= jpeg.size()) {
    if (jpeg[at] != '\xff') {  // junk between segments
      ++at;
      continue;
    }
    const int marker = ByteAt(jpeg, at + 1);
    if (marker == 0xff) {  // fill byte
      ++at;
      continue;
    }
    at += 2;
    if (marker == 0xda || marker == 0xd9) break;
    if (marker < 0xc0 || (marker >= 0xd0 && marker <= 0xd8)) continue;
    const auto length = static_cast<size_t>(ByteAt(jpeg, at) << 8 | ByteAt(jpeg, at + 1));
    if (length < 2) continue;
    const std::string_view payload = jpeg.substr(at, length).substr(2);
    if (marker == 0xe1 && payload.starts_with("Exif\0"sv)) return payload;
    at += length;
  }
  return {};
}

}  // namespace vl2
