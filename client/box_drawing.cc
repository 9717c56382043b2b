#include "client/box_drawing.h"

#include <glib.h>
#include <vips/vips.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <memory>

#include "runtime/base/status.h"
#include "vision_service/image/image_decoder.h"
#include "vision_service/image/vips_library.h"

namespace vl2::client {
namespace {

using Colour = std::array<uint8_t, 3>;
// Told apart by most people, also the colour-blind, and dark enough for white text.
constexpr Colour kColours[] = {{214, 39, 40},  {0, 98, 177}, {0, 128, 80},
                               {148, 60, 180}, {184, 92, 0}, {70, 70, 70}};

struct Rect {
  int left = 0, top = 0, right = 0, bottom = 0;  // right and bottom are outside
};

void FillRect(Image& image, Rect rect, const Colour& colour) {
  rect.left = std::clamp(rect.left, 0, image.width());
  rect.right = std::clamp(rect.right, 0, image.width());
  rect.top = std::clamp(rect.top, 0, image.height());
  rect.bottom = std::clamp(rect.bottom, 0, image.height());
  for (int y = rect.top; y < rect.bottom; ++y) {
    for (int x = rect.left; x < rect.right; ++x) {
      std::copy(colour.begin(), colour.end(), image.row(y) + x * Image::kChannels);
    }
  }
}

// A frame of `width` pixels, inside the box.
void DrawFrame(Image& image, const Rect& box, int width, const Colour& colour) {
  FillRect(image, {box.left, box.top, box.right, box.top + width}, colour);
  FillRect(image, {box.left, box.bottom - width, box.right, box.bottom}, colour);
  FillRect(image, {box.left, box.top, box.left + width, box.bottom}, colour);
  FillRect(image, {box.right - width, box.top, box.right, box.bottom}, colour);
}

struct Unref {
  void operator()(VipsImage* image) const { g_object_unref(image); }
};
using VipsImagePointer = std::unique_ptr<VipsImage, Unref>;

// What Pango draws: 255 where the text is. Null without a font, and for text that has no ink: a
// label is worth no failure.
VipsImagePointer RenderText(std::string_view label, int pixels) {
  if (label.size() > kMaxLabelBytes) label = label.substr(0, kMaxLabelBytes);
  // Valid again where the cut went through a character; and no markup, which Pango would obey.
  char* const valid = g_utf8_make_valid(label.data(), static_cast<gssize>(label.size()));
  char* const escaped = g_markup_escape_text(valid, -1);
  const std::string font = Cat("sans ", pixels);
  VipsImage* text = nullptr;
  // At 72 dots per inch a point is a pixel.
  const int failed = vips_text(&text, escaped, "font", font.c_str(), "dpi", 72, nullptr);
  g_free(escaped);
  g_free(valid);
  if (failed != 0) {
    VipsLibrary::TakeError();
    return nullptr;
  }
  return VipsImagePointer(text);
}

// White on `colour`, at the upper left corner of the box and inside the picture.
void DrawLabel(Image& image, const Rect& box, std::string_view label, int text_pixels,
               const Colour& colour) {
  if (label.empty()) return;
  const VipsImagePointer text = RenderText(label, text_pixels);
  if (text == nullptr) return;
  size_t num_bytes = 0;
  void* const memory = vips_image_write_to_memory(text.get(), &num_bytes);
  if (memory == nullptr) {
    VipsLibrary::TakeError();
    return;
  }
  const std::unique_ptr<void, decltype(&g_free)> owned(memory, &g_free);
  const int width = vips_image_get_width(text.get());
  const int height = vips_image_get_height(text.get());
  if (vips_image_get_bands(text.get()) != 1 ||
      num_bytes != static_cast<size_t>(width) * static_cast<size_t>(height)) {
    return;
  }
  const int margin = std::max(2, text_pixels / 5);
  const int left = std::clamp(box.left, 0, std::max(0, image.width() - width - 2 * margin));
  const int top = std::clamp(box.top, 0, std::max(0, image.height() - height - 2 * margin));
  FillRect(image, {left, top, left + width + 2 * margin, top + height + 2 * margin}, colour);
  const auto* const mask = static_cast<const uint8_t*>(memory);
  for (int y = 0; y < height && top + margin + y < image.height(); ++y) {
    for (int x = 0; x < width && left + margin + x < image.width(); ++x) {
      const int ink = mask[y * width + x];
      uint8_t* const pixel = image.row(top + margin + y) + (left + margin + x) * Image::kChannels;
      for (int c = 0; c < Image::kChannels; ++c) {
        pixel[c] = static_cast<uint8_t>(pixel[c] + (255 - pixel[c]) * ink / 255);
      }
    }
  }
}

absl::StatusOr<std::string> EncodePng(const Image& image) {
  const VipsImagePointer picture(vips_image_new_from_memory(image.data(), image.num_bytes(),
                                                            image.width(), image.height(),
                                                            Image::kChannels, VIPS_FORMAT_UCHAR));
  void* memory = nullptr;
  size_t num_bytes = 0;
  if (picture == nullptr || vips_pngsave_buffer(picture.get(), &memory, &num_bytes, nullptr) != 0) {
    return absl::InternalError(Cat("PNG: ", VipsLibrary::TakeError()));
  }
  std::string bytes(static_cast<const char*>(memory), num_bytes);
  g_free(memory);
  return bytes;
}

// Pixels that the box touches. Sides come from a peer: anything is cut to the picture.
Rect PixelsOf(const v1::Box& box, const Image& image) {
  const auto pixel = [](double value, int side) {
    return static_cast<int>(std::clamp(std::isfinite(value) ? value : 0, 0.0, double(side)));
  };
  Rect rect = {
      pixel(std::floor(box.left()), image.width()), pixel(std::floor(box.top()), image.height()),
      pixel(std::ceil(box.right()), image.width()), pixel(std::ceil(box.bottom()), image.height())};
  // A box without area is still to be seen.
  rect.left = std::min(rect.left, image.width() - 1);
  rect.top = std::min(rect.top, image.height() - 1);
  rect.right = std::max(rect.right, rect.left + 1);
  rect.bottom = std::max(rect.bottom, rect.top + 1);
  return rect;
}

}  // namespace

absl::StatusOr<std::string> DrawBoxes(std::string_view picture,
                                      std::span<const v1::BoxGroup> groups, int image_index) {
  VL2_RETURN_IF_ERROR(VipsLibrary::Start());
  VL2_ASSIGN_OR_RETURN(Image image, ImageDecoder().Decode(picture, DecodePolicy::Serving()));
  const int short_side = std::min(image.width(), image.height());
  const int line_pixels = std::max(2, short_side / 200);
  const int text_pixels = std::max(12, short_side / 30);
  std::map<std::string, Colour> colours;
  for (const v1::BoxGroup& group : groups) {
    if (group.image_index() != image_index) continue;
    const auto colour =
        colours.try_emplace(group.label(), kColours[colours.size() % std::size(kColours)]).first;
    for (const v1::Box& box : group.boxes()) {
      const Rect rect = PixelsOf(box, image);
      DrawFrame(image, rect, line_pixels, colour->second);
      DrawLabel(image, rect, group.label(), text_pixels, colour->second);
    }
  }
  return EncodePng(image);
}

std::string BoxesPath(const std::string& path, int image_index, int num_pictures) {
  if (num_pictures == 1) return path;
  const size_t dot = path.rfind('.');
  return Cat(path.substr(0, dot), "-", image_index, path.substr(dot));
}

}  // namespace vl2::client
