#include "tools/shard_writer/shard_writer.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "runtime/base/json.h"
#include "runtime/base/status.h"
#include "runtime/weight_format/superblock.h"

namespace vl2 {
namespace {

namespace fs = std::filesystem;

// Of packed tensors, and of the data in a file.
constexpr size_t kAlignment = 64;
// Panels packed at a time.
constexpr int64_t kPanelsAtOnce = 64;

struct Shard {
  std::string name;
  std::vector<OutTensor> tensors;
  int64_t num_bytes = 0;
};

std::vector<Shard> SplitShards(std::vector<OutTensor> tensors, int64_t max_bytes) {
  std::vector<Shard> shards(1);
  for (OutTensor& tensor : tensors) {
    const int64_t num_bytes = tensor.num_bytes();
    if (!shards.back().tensors.empty() && shards.back().num_bytes + num_bytes > max_bytes) {
      shards.emplace_back();
    }
    shards.back().num_bytes += num_bytes;
    shards.back().tensors.push_back(std::move(tensor));
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    char name[64];
    std::snprintf(name, sizeof(name), "model-%05zu-of-%06zu.safetensors", i + 1, shards.size());
    shards[i].name = name;
    std::stable_partition(shards[i].tensors.begin(), shards[i].tensors.end(),
                          [](const OutTensor& tensor) { return tensor.dtype == DType::kU8; });
  }
  return shards;
}

std::string ShardHeader(const Shard& shard) {
  Json header = {{"__metadata__", {{"format", "pt"}}}};
  int64_t offset = 0;
  for (const OutTensor& tensor : shard.tensors) {
    Json shape = Json::array();
    for (int axis = 0; axis < tensor.shape.rank(); ++axis) shape.push_back(tensor.shape[axis]);
    const int64_t end = offset + tensor.num_bytes();
    header[tensor.name] = {{"dtype", std::string(Name(tensor.dtype))},
                           {"shape", shape},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((8 + text.size() + kAlignment - 1) / kAlignment * kAlignment - 8, ' ');
  return text;
}

}  // namespace

absl::Status PrepareFolder(const std::string& folder) {
  std::error_code error;
  if (fs::exists(folder, error)) {
    if (!fs::is_directory(folder, error) || !fs::is_empty(folder, error)) {
      return absl::AlreadyExistsError(Cat(folder, ": exists and is not an empty folder"));
    }
    return absl::OkStatus();
  }
  if (!fs::create_directory(folder, error)) {
    return absl::NotFoundError(Cat(folder, ": cannot be created: ", error.message()));
  }
  return absl::OkStatus();
}

absl::Status WriteText(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) return absl::ResourceExhaustedError(Cat(path, ": cannot be written"));
  return absl::OkStatus();
}

absl::Status WriteShards(const std::string& folder, std::vector<OutTensor> tensors,
                         int64_t max_shard_bytes, const WriteProgress& progress) {
  const std::vector<Shard> shards = SplitShards(std::move(tensors), max_shard_bytes);
  int64_t total = 0;
  for (const Shard& shard : shards) total += shard.num_bytes;
  Json weight_map = Json::object();
  int64_t written = 0;
  for (const Shard& shard : shards) {
    const std::string path = folder + "/" + shard.name;
    std::ofstream file(path, std::ios::binary);
    const std::string header = ShardHeader(shard);
    const uint64_t header_bytes = header.size();
    file.write(reinterpret_cast<const char*>(&header_bytes), 8);
    file << header;
    for (const OutTensor& tensor : shard.tensors) {
      weight_map[tensor.name] = shard.name;
      int64_t left = tensor.num_bytes();
      tensor.write([&](const void* bytes, int64_t count) {
        file.write(static_cast<const char*>(bytes), count);
        left -= count;
        written += count;
        if (progress) progress(written, total);
      });
      VL2_CHECK(left == 0) << tensor.name << ": " << left << " bytes are missing";
      if (!file) break;
    }
    file.close();
    if (!file) return absl::ResourceExhaustedError(Cat(path, ": cannot be written"));
  }
  const Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  return WriteText(folder + "/model.safetensors.index.json", index.dump(1));
}

OutTensor PackedTensor(
    const std::string& name, const Shape& matrix, WeightFormat format, DType dtype,
    ThreadPool& pool,
    std::function<void(int64_t first_row, int64_t num_rows, std::byte* rows)> fill) {
  const int64_t out = matrix[0];
  const int64_t in = matrix[1];
  const int64_t num_panels = (out + kSuperblockLanes - 1) / kSuperblockLanes;
  const int64_t panel_bytes = PanelBytes(format, in);
  const int64_t row_bytes = in * static_cast<int64_t>(SizeOf(dtype));
  OutTensor tensor = {Cat(name, ".", Name(format)), DType::kU8, {num_panels, panel_bytes}, {}};
  tensor.write = [=, &pool, fill = std::move(fill)](const OutTensor::Put& put) {
    std::vector<std::byte> rows;
    std::vector<std::byte> panels;
    for (int64_t first = 0; first < num_panels; first += kPanelsAtOnce) {
      const int64_t count = std::min(kPanelsAtOnce, num_panels - first);
      const int64_t first_row = first * kSuperblockLanes;
      const int64_t num_rows = std::min(count * kSuperblockLanes, out - first_row);
      rows.resize(static_cast<size_t>(num_rows * row_bytes));
      panels.resize(static_cast<size_t>(count * panel_bytes));
      fill(first_row, num_rows, rows.data());
      pool.ParallelFor(count, [&](int64_t panel, int) {
        const std::byte* pointers[kSuperblockLanes] = {};
        for (int64_t lane = 0; lane < kSuperblockLanes; ++lane) {
          const int64_t row = panel * kSuperblockLanes + lane;
          if (row < num_rows) pointers[lane] = rows.data() + row * row_bytes;
        }
        QuantizePanel(format, dtype, pointers, in, panels.data() + panel * panel_bytes);
      });
      put(panels.data(), count * panel_bytes);
    }
  };
  return tensor;
}

}  // namespace vl2
