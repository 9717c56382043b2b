#include "client/question.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "runtime/base/status.h"
#include "vision_service/image/image_format.h"

namespace vl2::client {
namespace {

absl::Status TooLarge(const std::string& what) {
  return InvalidArgument(what, ": larger than the ", kMaxPictureBytes >> 20, " MiB of a picture");
}

// At most one byte more than a picture may have is ever held.
absl::StatusOr<std::string> ReadBounded(std::istream& stream, const std::string& what) {
  std::string bytes;
  char part[1 << 16];
  do {
    stream.read(part, sizeof(part));
    bytes.append(part, static_cast<size_t>(stream.gcount()));
    if (bytes.size() > kMaxPictureBytes) return TooLarge(what);
  } while (stream);
  if (stream.bad()) return absl::DataLossError(Cat(what, ": cannot be read"));
  return bytes;
}

absl::StatusOr<std::string> ReadPictureFile(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) return absl::NotFoundError(Cat(path, ": no such file"));
  if (std::filesystem::is_directory(status)) {
    return InvalidArgument(path, ": is a folder, not a picture");
  }
  if (std::filesystem::is_regular_file(status)) {
    const auto size = std::filesystem::file_size(path, error);
    if (!error && size > kMaxPictureBytes) return TooLarge(path);
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::PermissionDeniedError(Cat(path, ": ", std::strerror(errno)));
  return ReadBounded(file, path);
}

void FillTiling(const TilingChoice& from, v1::Image& image) {
  using Kind = TilingChoice::Kind;
  switch (from.kind) {
    case Kind::kAuto:
      return;
    case Kind::kBest:
    case Kind::kSingle:
      return image.mutable_tiling()->set_best_of_all(from.kind == Kind::kBest);
    case Kind::kMaxTiles:
      return image.mutable_tiling()->set_max_tiles(from.max_tiles);
    case Kind::kFixed:
      image.mutable_tiling()->mutable_fixed()->set_tiles_wide(from.tiles_wide);
      image.mutable_tiling()->mutable_fixed()->set_tiles_high(from.tiles_high);
  }
}

void FillSampling(const AskArguments& ask, v1::SamplingParams& sampling) {
  if (ask.temperature) sampling.set_temperature(*ask.temperature);
  if (ask.top_p) sampling.set_top_p(*ask.top_p);
  if (ask.top_k) sampling.set_top_k(*ask.top_k);
  if (ask.repetition_penalty) sampling.set_repetition_penalty(*ask.repetition_penalty);
  for (const auto& [id, bias] : ask.logit_bias) (*sampling.mutable_logit_bias())[id] = bias;
  sampling.set_seed(ask.seed);
}

}  // namespace

absl::StatusOr<std::string> ReadPicture(const std::string& path, std::istream& standard_input) {
  const std::string what = path == "-" ? "standard input" : path;
  auto bytes = path == "-" ? ReadBounded(standard_input, what) : ReadPictureFile(path);
  VL2_RETURN_IF_ERROR(bytes);
  VL2_RETURN_IF_ERROR(Annotate(DetectFormat(*bytes).status(), what));
  return bytes;
}

absl::StatusOr<v1::ChatRequest> MakeQuestion(const AskArguments& ask,
                                             std::istream& standard_input) {
  v1::ChatRequest request;
  if (!ask.system.empty()) {
    v1::Message& system = *request.add_messages();
    system.set_role(v1::Message::ROLE_SYSTEM);
    system.add_parts()->set_text(ask.system);
  }
  v1::Message& question = *request.add_messages();
  question.set_role(v1::Message::ROLE_USER);
  for (const std::string& path : ask.pictures) {
    v1::Image& image = *question.add_parts()->mutable_image();
    VL2_ASSIGN_OR_RETURN(*image.mutable_data(), ReadPicture(path, standard_input));
    FillTiling(ask.tiling, image);
  }
  question.add_parts()->set_text(ask.question);
  FillSampling(ask, *request.mutable_sampling());
  request.set_max_new_tokens(ask.max_tokens);
  request.set_num_samples(ask.samples);
  request.set_ignore_end_token(ask.ignore_end_token);
  return request;
}

}  // namespace vl2::client
