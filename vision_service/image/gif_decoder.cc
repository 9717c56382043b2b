#include "vision_service/image/gif_decoder.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "runtime/base/status.h"

namespace vl2 {
namespace {

constexpr int kMaxCodeBits = 12;
constexpr size_t kTableSize = size_t{1} << kMaxCodeBits;
constexpr int kCodesPerCheck = 1 << 14;

using Colors = std::array<std::array<uint8_t, 3>, 256>;

// A cursor over the file.
class GifReader {
 public:
  GifReader(std::string_view bytes, size_t offset) : bytes_(bytes), offset_(offset) {}

  size_t offset() const { return offset_; }
  bool Has(size_t num_bytes) const { return num_bytes <= bytes_.size() - offset_; }
  // REQUIRES: Has(1), Has(2).
  int Byte() { return static_cast<uint8_t>(bytes_[offset_++]); }
  int Short() {
    const int low = Byte();
    return low | Byte() << 8;
  }
  // The next bytes, fewer at the end of the file.
  std::string_view Take(size_t num_bytes) {
    const std::string_view taken = bytes_.substr(offset_, num_bytes);
    offset_ += taken.size();
    return taken;
  }
  // The next sub-block's payload; nullopt at the terminator or at the end of the file.
  std::optional<std::string_view> SubBlock() {
    if (!Has(1)) return std::nullopt;
    const int length = Byte();
    if (length == 0) return std::nullopt;
    return Take(static_cast<size_t>(length));
  }
  void SkipSubBlocks() {
    while (SubBlock().has_value()) {
    }
  }

 private:
  std::string_view bytes_;
  size_t offset_;
};

absl::Status Truncated(std::string_view what, std::string_view bytes) {
  return InvalidArgument("GIF is truncated: ", bytes.size(), " bytes end in the ", what);
}

std::string_view ReadColorTable(GifReader& reader, int flags) {
  if ((flags & 0x80) == 0) return {};
  return reader.Take(size_t{3} << ((flags & 7) + 1));
}

// Variable-width codes, least significant bit first, from a chain of sub-blocks.
class CodeReader {
 public:
  explicit CodeReader(GifReader reader) : reader_(reader) {}

  // nullopt when the data end.
  std::optional<int> Next(int num_bits) {
    while (num_held_ < num_bits) {
      while (at_ == block_.size()) {
        const auto next = reader_.SubBlock();
        if (!next.has_value()) return std::nullopt;
        block_ = *next;
        at_ = 0;
      }
      held_ |= static_cast<uint32_t>(static_cast<uint8_t>(block_[at_++])) << num_held_;
      num_held_ += 8;
    }
    const int code = static_cast<int>(held_ & ((1u << num_bits) - 1));
    held_ >>= num_bits;
    num_held_ -= num_bits;
    return code;
  }

 private:
  GifReader reader_;
  std::string_view block_;
  size_t at_ = 0;
  uint32_t held_ = 0;
  int num_held_ = 0;
};

// The frame's rows in the order of the file, from indices to colours in their places.
class FrameRows {
 public:
  FrameRows(const GifHeader& header, const Colors& colors, Image& image)
      : header_(header), colors_(colors), image_(image) {
    BeginRow();
  }

  size_t num_left() const { return num_left_; }
  // Takes the next pixels; those beyond the last are dropped.
  void Add(const uint8_t* indices, size_t count) {
    count = std::min(count, num_left_);
    num_left_ -= count;
    while (count > 0) {
      const size_t run = std::min(count, static_cast<size_t>(header_.frame.width - x_));
      for (size_t i = 0; i < run; ++i, pixel_ += 3) {
        std::copy_n(colors_[indices[i]].data(), 3, pixel_);
      }
      indices += run;
      count -= run;
      x_ += static_cast<int>(run);
      if (x_ == header_.frame.width) EndRow();
    }
  }

 private:
  void BeginRow() {
    x_ = 0;
    pixel_ = image_.row(header_.frame_y + y_) + 3 * header_.frame_x;
  }
  void EndRow() {
    static constexpr std::array<std::pair<int, int>, 4> kPasses = {
        {{0, 8}, {4, 8}, {2, 4}, {1, 2}}};
    y_ += header_.interlaced ? kPasses[pass_].second : 1;
    while (y_ >= header_.frame.height && header_.interlaced && pass_ + 1 < kPasses.size()) {
      y_ = kPasses[++pass_].first;
    }
    if (y_ < header_.frame.height) BeginRow();
  }

  const GifHeader& header_;
  const Colors& colors_;
  Image& image_;
  size_t num_left_ = static_cast<size_t>(header_.frame.area());
  size_t pass_ = 0;
  int x_ = 0, y_ = 0;  // in the frame
  uint8_t* pixel_ = nullptr;
};

// Expands the LZW codes, in the file's row order.
absl::Status Expand(GifReader reader, DecodeMeter& meter, FrameRows& rows) {
  const int root_bits = reader.Byte();
  if (root_bits < 1 || root_bits > 8) {
    return InvalidArgument("GIF is corrupt: code size ", root_bits, ", must be 1 to 8");
  }
  const int clear_code = 1 << root_bits;
  const int end_code = clear_code + 1;
  // A string is its last index and the string before it.
  std::array<uint16_t, kTableSize> prefix{};
  std::array<uint8_t, kTableSize> last{};
  std::array<uint16_t, kTableSize> length{};
  for (int i = 0; i < clear_code; ++i) {
    last[static_cast<size_t>(i)] = static_cast<uint8_t>(i);
    length[static_cast<size_t>(i)] = 1;
  }

  CodeReader codes(reader);
  int num_bits = root_bits + 1;
  int next = end_code + 1;
  int previous = -1;
  int codes_until_check = 0;
  std::array<uint8_t, kTableSize + 1> expanded{};
  const size_t num_pixels = rows.num_left();
  while (rows.num_left() > 0) {
    if (--codes_until_check < 0) {
      codes_until_check = kCodesPerCheck;
      VL2_RETURN_IF_ERROR(meter.Check());
    }
    const std::optional<int> code = codes.Next(num_bits);
    if (!code.has_value() || *code == end_code) {
      return InvalidArgument("GIF is truncated: ", num_pixels - rows.num_left(), " of ", num_pixels,
                             " pixels of the first frame");
    }
    if (*code == clear_code) {
      num_bits = root_bits + 1;
      next = end_code + 1;
      previous = -1;
      continue;
    }
    const bool known = *code < clear_code || (*code > end_code && *code < next);
    if (!known && (previous < 0 || *code != next)) {
      return InvalidArgument("GIF is corrupt: code ", *code, " with ", next, " codes known");
    }
    // The code that is just being defined stands for the previous string and its own first index.
    const auto string = static_cast<size_t>(known ? *code : previous);
    size_t string_length = length[string];
    size_t walk = string;
    for (size_t i = string_length; i-- > 0; walk = prefix[walk]) expanded[i] = last[walk];
    const uint8_t first = expanded[0];
    if (!known) expanded[string_length++] = first;
    rows.Add(expanded.data(), string_length);
    if (previous >= 0 && next < static_cast<int>(kTableSize)) {
      const auto slot = static_cast<size_t>(next);
      prefix[slot] = static_cast<uint16_t>(previous);
      last[slot] = first;
      length[slot] = static_cast<uint16_t>(length[static_cast<size_t>(previous)] + 1);
      ++next;
      if (next == 1 << num_bits && num_bits < kMaxCodeBits) ++num_bits;
    }
    previous = *code;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GifHeader> ReadGifHeader(std::string_view bytes, int max_frames) {
  GifReader reader(bytes, std::min<size_t>(6, bytes.size()));
  if (!reader.Has(7)) return Truncated("header", bytes);
  GifHeader header;
  header.screen.width = reader.Short();
  header.screen.height = reader.Short();
  const int screen_flags = reader.Byte();
  reader.Take(2);
  header.palette = ReadColorTable(reader, screen_flags);

  while (reader.Has(1)) {
    const int introducer = reader.Byte();
    if (introducer == 0x3b) break;
    if (introducer == 0x21 && reader.Has(1)) {
      const bool graphic_control = reader.Byte() == 0xf9;
      const auto block = reader.SubBlock();
      if (graphic_control && header.num_frames == 0 && block.has_value() && block->size() >= 4) {
        const bool transparent = ((*block)[0] & 1) != 0;
        if (transparent) header.transparent_index = static_cast<uint8_t>((*block)[3]);
      }
      if (block.has_value()) reader.SkipSubBlocks();
      continue;
    }
    if (introducer != 0x2c) continue;
    if (!reader.Has(10)) break;
    const int x = reader.Short(), y = reader.Short(), width = reader.Short();
    const int height = reader.Short(), flags = reader.Byte();
    const std::string_view palette = ReadColorTable(reader, flags);
    if (!reader.Has(1)) break;
    if (header.num_frames == 0) {
      header.frame_x = x;
      header.frame_y = y;
      header.frame = {width, height};
      header.screen.width = std::max(header.screen.width, x + width);
      header.screen.height = std::max(header.screen.height, y + height);
      header.interlaced = (flags & 0x40) != 0;
      if (!palette.empty()) header.palette = palette;
      header.data_offset = reader.offset();
    }
    if (++header.num_frames > max_frames) break;
    reader.Byte();
    reader.SkipSubBlocks();
  }
  if (header.num_frames == 0) return Truncated("blocks before the first frame", bytes);
  if (header.frame.area() == 0) {
    return InvalidArgument("GIF is corrupt: first frame of ", header.frame, " pixels");
  }
  return header;
}

absl::StatusOr<Image> DecodeGif(std::string_view bytes, const GifHeader& header,
                                bool white_background, DecodeMeter& meter) {
  Colors colors;
  for (size_t i = 0; i < colors.size(); ++i) {
    for (size_t c = 0; c < 3; ++c) {
      const bool listed = 3 * i + 2 < header.palette.size();
      colors[i][c] =
          static_cast<uint8_t>(listed ? header.palette[3 * i + c] : static_cast<char>(i));
    }
  }
  const std::array<uint8_t, 3> white = {255, 255, 255};
  if (white_background && header.transparent_index >= 0) {
    colors[static_cast<size_t>(header.transparent_index)] = white;
  }
  const auto behind =
      white_background ? white : colors[static_cast<size_t>(std::max(header.transparent_index, 0))];

  Image image(header.screen);
  if (header.frame != header.screen) {
    for (size_t i = 0; i < image.num_bytes(); i += 3) {
      std::copy(behind.begin(), behind.end(), image.data() + i);
    }
  }
  FrameRows rows(header, colors, image);
  VL2_RETURN_IF_ERROR(Expand(GifReader(bytes, header.data_offset), meter, rows));
  return image;
}

}  // namespace vl2
