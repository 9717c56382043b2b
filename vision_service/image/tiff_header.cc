#include "vision_service/image/tiff_header.h"

#include <algorithm>
#include <limits>
#include <string>

#include "runtime/base/status.h"

namespace vl2 {
namespace {

// Tags and their values, as TIFF 6 calls them.
enum : uint64_t {
  kImageWidth = 256,
  kImageLength = 257,
  kCompression = 259,
  kPhotometric = 262,
  kSamplesPerPixel = 277,
  kRowsPerStrip = 278,
  kTileWidth = 322,
  kTileLength = 323,
  kInkSet = 332,
  kExtraSamples = 338,
};
enum : uint64_t {
  kWhiteIsZero = 0,
  kBlackIsZero = 1,
  kRgb = 2,
  kPalette = 3,
  kMask = 4,
  kSeparated = 5,
  kYCbCr = 6,
};
constexpr uint64_t kJpeg = 7;
constexpr uint64_t kUnspecifiedExtraSample = 0;
constexpr uint64_t kMaxExtraSamples = 64;
// Entries of all directories together: libtiff reads each of them.
constexpr uint64_t kMaxEntries = 200'000;

// Reads the integers of a classic or a big TIFF.
class TiffReader {
 public:
  explicit TiffReader(std::string_view bytes)
      : bytes_(bytes), little_(bytes[0] == 'I'), big_(Read(2, 2) == 43) {}

  uint64_t first_directory() const { return ReadOffset(big_ ? 8 : 4); }
  bool Holds(uint64_t offset, uint64_t num_bytes) const {
    return offset <= bytes_.size() && num_bytes <= bytes_.size() - offset;
  }
  // Zero outside the bytes.
  uint64_t Read(uint64_t offset, int num_bytes) const {
    if (!Holds(offset, static_cast<uint64_t>(num_bytes))) return 0;
    uint64_t value = 0;
    for (int i = 0; i < num_bytes; ++i) {
      const auto at =
          static_cast<size_t>(offset) + static_cast<size_t>(little_ ? num_bytes - 1 - i : i);
      value = value << 8 | static_cast<uint8_t>(bytes_[at]);
    }
    return value;
  }
  uint64_t ReadOffset(uint64_t offset) const { return Read(offset, big_ ? 8 : 4); }
  int count_bytes() const { return big_ ? 8 : 2; }
  uint64_t entry_bytes() const { return big_ ? 20 : 12; }
  size_t size() const { return bytes_.size(); }

  uint64_t EntryCount(uint64_t entry) const { return Read(entry + 4, big_ ? 8 : 4); }
  // Value `index` of the entry, for the types BYTE, SHORT, LONG and LONG8; else 0.
  uint64_t EntryValue(uint64_t entry, uint64_t index = 0) const {
    int value_bytes = 0;
    switch (Read(entry + 2, 2)) {
      case 1:
        value_bytes = 1;
        break;
      case 3:
        value_bytes = 2;
        break;
      case 4:
        value_bytes = 4;
        break;
      case 16:
        value_bytes = 8;
        break;
      default:
        return 0;
    }
    const uint64_t count = EntryCount(entry);
    if (index >= count || count > bytes_.size()) return 0;
    const uint64_t inside = big_ ? 8 : 4;
    const uint64_t value_at = entry + (big_ ? 12 : 8);
    const auto size = static_cast<uint64_t>(value_bytes);
    const uint64_t first = count * size <= inside ? value_at : ReadOffset(value_at);
    if (first > bytes_.size()) return 0;
    return Read(first + index * size, value_bytes);
  }

 private:
  std::string_view bytes_;
  bool little_;
  bool big_;
};

// The entries of one directory.
struct Directory {
  const TiffReader& tiff;
  uint64_t entries;
  uint64_t count;

  // The entry of a tag; 0 when there is none. The first one counts, as in libtiff.
  uint64_t Find(uint64_t tag) const {
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t entry = entries + i * tiff.entry_bytes();
      if (tiff.Read(entry, 2) == tag) return entry;
    }
    return 0;
  }
  uint64_t Value(uint64_t tag, uint64_t fallback) const {
    const uint64_t entry = Find(tag);
    return entry == 0 ? fallback : tiff.EntryValue(entry);
  }
};

std::string PhotometricName(uint64_t photometric) {
  switch (photometric) {
    case kMask:
      return "transparency mask";
    case kSeparated:
      return "inks other than CMYK";
    case kYCbCr:
      return "YCbCr without JPEG compression";
    case 8:
      return "CIELab";
    case 9:
      return "ICCLab";
    case 10:
      return "ITULab";
    case 32803:
      return "colour filter array";
    case 32844:
      return "LogL";
    case 32845:
      return "LogLuv";
    case 34892:
      return "linear raw";
    default:
      return "unknown";
  }
}

absl::Status ReadColors(const Directory& page, TiffHeader& header) {
  // Without the tag libvips decides, or refuses.
  const uint64_t photometric = page.Value(kPhotometric, kBlackIsZero);
  const uint64_t num_samples = page.Value(kSamplesPerPixel, 1);
  uint64_t num_stored = 3;
  bool accepted = true;
  switch (photometric) {
    case kWhiteIsZero:
    case kBlackIsZero:
      header.white_is_zero = photometric == kWhiteIsZero;
      header.num_colors = 1;
      num_stored = 1;
      break;
    case kRgb:
      break;
    case kPalette:
      num_stored = 1;
      break;
    case kSeparated:
      header.num_colors = 4;
      num_stored = 4;
      accepted = page.Value(kInkSet, 1) == 1;
      break;
    case kYCbCr:
      accepted = page.Value(kCompression, 1) == kJpeg;
      break;
    default:
      accepted = false;
  }
  if (!accepted) {
    return InvalidArgument("TIFF with photometric interpretation ", photometric, " (",
                           PhotometricName(photometric),
                           "): accepted are grey, RGB, palette, CMYK and YCbCr inside JPEG");
  }
  if (page.Find(kPhotometric) == 0 && num_samples >= 3) num_stored = 3;  // what libvips makes of it
  if (num_samples < num_stored || num_samples > num_stored + kMaxExtraSamples) {
    return InvalidArgument("TIFF with ", num_samples, " samples a pixel for ", num_stored,
                           " colours, up to ", kMaxExtraSamples, " more are accepted");
  }
  if (page.Find(kPhotometric) == 0) header.num_colors = static_cast<int>(num_stored);
  header.num_extra = static_cast<int>(num_samples - num_stored);
  const uint64_t extra = page.Find(kExtraSamples);
  for (int i = 0; i < header.num_extra && header.alpha_at < 0; ++i) {
    // Writers that leave the tag out mean alpha: so Pillow and libvips read them.
    const bool is_alpha = extra == 0 ? i == 0
                                     : page.tiff.EntryValue(extra, static_cast<uint64_t>(i)) !=
                                           kUnspecifiedExtraSample;
    if (is_alpha) header.alpha_at = i;
  }
  return absl::OkStatus();
}

void ReadBlock(const Directory& page, TiffHeader& header) {
  const auto side = [](uint64_t value) {
    return static_cast<int>(std::min<uint64_t>(value, std::numeric_limits<int>::max()));
  };
  header.is_tiled = page.Find(kTileWidth) != 0 || page.Find(kTileLength) != 0;
  if (header.is_tiled) {
    header.block = {side(page.Value(kTileWidth, 0)), side(page.Value(kTileLength, 0))};
    return;
  }
  const uint64_t height = page.Value(kImageLength, 0);
  header.block = {side(page.Value(kImageWidth, 0)),
                  side(std::min(page.Value(kRowsPerStrip, height), height))};
}

}  // namespace

absl::StatusOr<TiffHeader> ReadTiffHeader(std::string_view bytes, int max_frames) {
  if (bytes.size() < 8) return InvalidArgument("TIFF of ", bytes.size(), " bytes is truncated");
  const TiffReader tiff(bytes);
  TiffHeader header;
  uint64_t num_entries = 0;
  uint64_t directory = tiff.first_directory();
  while (directory != 0 && header.num_frames <= max_frames) {
    const auto count_bytes = static_cast<uint64_t>(tiff.count_bytes());
    if (!tiff.Holds(directory, count_bytes)) {
      return InvalidArgument("TIFF is truncated: directory of page ", header.num_frames + 1,
                             " at byte ", directory, " of ", bytes.size());
    }
    const uint64_t count = tiff.Read(directory, tiff.count_bytes());
    const uint64_t entries = directory + count_bytes;
    if (count > bytes.size() || !tiff.Holds(entries, count * tiff.entry_bytes())) {
      return InvalidArgument("TIFF is truncated: directory of page ", header.num_frames + 1,
                             " has ", count, " entries");
    }
    num_entries += count;
    if (num_entries > kMaxEntries) {
      return InvalidArgument("TIFF with at least ", num_entries,
                             " entries in its directories: the limit is ", kMaxEntries);
    }
    if (header.num_frames++ == 0 && count > 0) {
      const Directory page = {tiff, entries, count};
      ReadBlock(page, header);
      VL2_RETURN_IF_ERROR(ReadColors(page, header));
    }
    directory = tiff.ReadOffset(entries + count * tiff.entry_bytes());
  }
  return header;
}

}  // namespace vl2
