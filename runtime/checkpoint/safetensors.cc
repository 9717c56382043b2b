#include "runtime/checkpoint/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/base/model_folder.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are stored little-endian");

std::optional<DType> ParseDType(std::string_view name) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kI64, DType::kI32,
                            DType::kU8, DType::kBool}) {
    if (Name(dtype) == name) return dtype;
  }
  return std::nullopt;
}

// The number in `json` when it is one in [0, max].
std::optional<uint64_t> Unsigned(const Json& json, uint64_t max) {
  if (!json.is_number_unsigned()) return std::nullopt;
  const auto value = json.get<uint64_t>();
  return value <= max ? std::optional(value) : std::nullopt;
}

absl::StatusOr<SafetensorsEntry> ParseEntry(const Json& json, uint64_t data_bytes,
                                            const std::string& context) {
  constexpr uint64_t kMaxDim = uint64_t{1} << 40;
  SafetensorsEntry entry;
  const JsonFields fields(json, context);
  if (!json.is_object()) return InvalidArgument(context, ": expected an object");
  VL2_ASSIGN_OR_RETURN(const std::string dtype_name, fields.String("dtype", std::nullopt));
  const auto dtype = ParseDType(dtype_name);
  if (!dtype) return InvalidArgument(context, ": dtype \"", dtype_name, "\" is not supported");
  entry.dtype = *dtype;

  const Json* shape = fields.Find("shape");
  if (shape == nullptr || !shape->is_array() || shape->size() > Shape::kMaxRank) {
    return InvalidArgument(context, ": expected a shape of at most ", Shape::kMaxRank,
                           " dimensions, found ", shape ? shape->dump() : "none");
  }
  uint64_t num_bytes = SizeOf(entry.dtype);
  for (const Json& value : *shape) {
    const auto dim = Unsigned(value, kMaxDim);
    if (!dim) return InvalidArgument(context, ": dimension ", value.dump(), " in its shape");
    if (__builtin_mul_overflow(num_bytes, *dim, &num_bytes) || num_bytes > (uint64_t{1} << 50)) {
      return InvalidArgument(context, ": shape ", shape->dump(), " is too large");
    }
    entry.shape.Append(static_cast<int64_t>(*dim));
  }

  const Json* offsets = fields.Find("data_offsets");
  const bool is_pair = offsets != nullptr && offsets->is_array() && offsets->size() == 2;
  const auto begin = is_pair ? Unsigned((*offsets)[0], data_bytes) : std::nullopt;
  const auto end = is_pair ? Unsigned((*offsets)[1], data_bytes) : std::nullopt;
  if (!begin || !end || *begin > *end) {
    return InvalidArgument(context, ": data_offsets ", offsets ? offsets->dump() : "missing",
                           " are not a range inside the file's ", data_bytes, " bytes of data");
  }
  if (*end - *begin != num_bytes) {
    return InvalidArgument(context, ": ", *end - *begin, " bytes of data, but ", dtype_name, " ",
                           entry.shape, " takes ", num_bytes);
  }
  entry.begin = *begin;
  entry.end = *end;
  return entry;
}

absl::Status CheckNoOverlap(const SafetensorsHeader& header, const std::string& context) {
  std::vector<SafetensorsHeader::const_iterator> order;
  for (auto it = header.begin(); it != header.end(); ++it) {
    if (it->second.end > it->second.begin) order.push_back(it);
  }
  std::sort(order.begin(), order.end(),
            [](auto a, auto b) { return a->second.begin < b->second.begin; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i]->second.begin < order[i - 1]->second.end) {
      return InvalidArgument(context, ": data of \"", order[i]->first, "\" overlaps that of \"",
                             order[i - 1]->first, "\"");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json, uint64_t data_bytes,
                                                         const std::string& context) {
  auto parsed = ParseJson(json, {.max_bytes = SafetensorsLimits::kMaxHeaderBytes, .max_depth = 8});
  if (!parsed.ok()) return Annotate(parsed.status(), context + ": header");
  if (!parsed->is_object()) return InvalidArgument(context, ": header is not an object");
  if (parsed->size() > SafetensorsLimits::kMaxTensors) {
    return InvalidArgument(context, ": ", parsed->size(), " tensors, the limit is ",
                           SafetensorsLimits::kMaxTensors);
  }
  SafetensorsHeader header;
  for (const auto& [name, value] : parsed->items()) {
    if (name == "__metadata__") continue;
    VL2_ASSIGN_OR_RETURN(SafetensorsEntry entry,
                         ParseEntry(value, data_bytes, Cat(context, ": tensor \"", name, "\"")));
    header.emplace(name, entry);
  }
  VL2_RETURN_IF_ERROR(CheckNoOverlap(header, context));
  return header;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::NotFoundError(Cat(path, ": ", std::strerror(errno)));
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    return absl::NotFoundError(Cat(path, ": not a regular file"));
  }
  const auto num_bytes = static_cast<uint64_t>(info.st_size);
  std::array<char, 64> begin;
  const ssize_t num_read = pread(fd, begin.data(), begin.size(), 0);
  if (num_read > 0) {
    const std::string_view text(begin.data(), static_cast<size_t>(num_read));
    if (const absl::Status status = CheckIsNoLfsPointer(text, path); !status.ok()) {
      close(fd);
      return status;
    }
  }
  if (num_bytes < 8) {
    close(fd);
    return InvalidArgument(path, ": ", num_bytes, " bytes, too short for a header");
  }
  void* mapping = mmap(nullptr, num_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  if (mapping == MAP_FAILED) {
    return absl::ResourceExhaustedError(Cat(path, ": mmap: ", std::strerror(errno)));
  }
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile);
  file->path_ = path;
  file->mapping_ = static_cast<const std::byte*>(mapping);
  file->num_bytes_ = num_bytes;

  uint64_t header_bytes;
  std::memcpy(&header_bytes, mapping, 8);
  if (header_bytes > num_bytes - 8 || header_bytes > SafetensorsLimits::kMaxHeaderBytes) {
    return InvalidArgument(path, ": header of ", header_bytes, " bytes, the file has ",
                           num_bytes - 8, " after its length and the limit is ",
                           SafetensorsLimits::kMaxHeaderBytes);
  }
  const std::string_view json(static_cast<const char*>(mapping) + 8, header_bytes);
  VL2_ASSIGN_OR_RETURN(file->header_,
                       ParseSafetensorsHeader(json, num_bytes - 8 - header_bytes, path));
  file->data_ = file->mapping_ + 8 + header_bytes;
  return file;
}

SafetensorsFile::~SafetensorsFile() {
  if (mapping_ != nullptr) munmap(const_cast<std::byte*>(mapping_), num_bytes_);
}

absl::StatusOr<TensorView> SafetensorsFile::Find(std::string_view name) const {
  const auto it = header_.find(name);
  if (it == header_.end()) {
    return absl::NotFoundError(Cat(path_, ": tensor \"", name, "\" is missing"));
  }
  return TensorView{it->second.dtype, it->second.shape, data_ + it->second.begin};
}

void SafetensorsFile::Release(const TensorView& view) const {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(view.bytes) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(view.bytes) + view.num_bytes();
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace vl2
