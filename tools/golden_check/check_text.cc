#include <filesystem>
#include <map>
#include <set>

#include "runtime/base/json.h"
#include "runtime/base/status.h"
#include "text/published_template.h"
#include "text/tokenizer.h"
#include "tools/golden_check/checks.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxLinesBytes = size_t{256} << 20;

// The objects of a file with one JSON object a line.
absl::StatusOr<std::vector<Json>> ReadLines(const std::string& path) {
  VL2_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxLinesBytes));
  std::vector<Json> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    if (line.empty()) continue;
    VL2_ASSIGN_OR_RETURN(Json json, ParseJson(line));
    lines.push_back(std::move(json));
  }
  return lines;
}

// Runs `check` on every line; it returns an empty string or what is wrong.
template <typename Check>
void CheckLines(const std::string& item, std::string_view what, const std::string& path,
                Report& report, const Check& check) {
  const auto lines = ReadLines(path);
  if (!lines.ok()) {
    report.Check(item, what, false, Message(lines.status()));
    return;
  }
  size_t wrong = 0;
  std::string first;
  for (size_t i = 0; i < lines->size(); ++i) {
    const std::string problem = check((*lines)[i]);
    if (problem.empty()) continue;
    if (wrong++ == 0) first = Cat("line ", i + 1, ": ", problem);
  }
  report.Check(item, what, wrong == 0 && !lines->empty(),
               wrong == 0 ? Cat("exact, ", lines->size(), " lines")
                          : Cat(wrong, " of ", lines->size(), " lines differ; ", first));
}

std::string Show(std::span<const int32_t> ids) {
  std::string text = "[";
  for (size_t i = 0; i < ids.size() && i < 24; ++i) text += Cat(i ? ", " : "", ids[i]);
  return text + (ids.size() > 24 ? ", …]" : "]");
}

void CheckEncode(const std::string& item, const std::string& path, const Tokenizer& tokenizer,
                 Report& report) {
  CheckLines(item, "encode", path, report, [&](const Json& line) -> std::string {
    const auto expected = line["ids"].get<std::vector<int32_t>>();
    const auto ids =
        tokenizer.Encode(line["text"].get<std::string>(), {.control = ControlTokens::kAll});
    if (!ids.ok()) return Message(ids.status());
    return *ids == expected ? "" : Cat("expected ", Show(expected), ", got ", Show(*ids));
  });
}

void CheckDecode(const std::string& item, const std::string& path, const Tokenizer& tokenizer,
                 Report& report) {
  CheckLines(item, "decode", path, report, [&](const Json& line) -> std::string {
    const auto ids = line["ids"].get<std::vector<int32_t>>();
    for (const auto& [key, skip] :
         {std::pair("text", false), std::pair("text_skip_special", true)}) {
      const std::string text = tokenizer.Decode(ids, skip);
      if (text != line[key].get<std::string>()) {
        return Cat(key, ": expected ", line[key].dump(), ", got ", Json(text).dump());
      }
    }
    return "";
  });
}

// One entry of processor/conversations.json; an empty string or what is wrong.
std::string CheckConversation(const Json& entry, const Tokenizer& tokenizer,
                              const TileGeometry& geometry) {
  const Json& sizes = entry["image_sizes"];
  const auto num_images = static_cast<int>(sizes.size());
  std::vector<PublishedMessage> messages;
  for (const Json& message : entry.value("conversation", Json::array())) {
    messages.push_back({message.value("role", ""), message.value("content", "")});
  }
  const std::string system_prompt = entry.value("system_prompt", "");
  const bool is_text = entry.contains("prompt");
  const bool apply = entry.value("apply_sft_format", false);
  const std::string text = entry.value("prompt", "");
  const auto prompt = is_text
                          ? RenderPublishedText(tokenizer, text, apply, system_prompt, num_images)
                          : RenderPublishedConversation(tokenizer, messages, num_images);
  if (entry.contains("error")) {
    return prompt.ok() ? "accepted, the reference refuses it" : "";
  }
  if (!prompt.ok()) return Message(prompt.status());

  std::vector<int64_t> counts;
  Json crops = Json::array();
  for (const Json& size : sizes) {
    const auto plan = PlanTiles({size[0].get<int>(), size[1].get<int>()}, geometry,
                                Tiling::Published(num_images <= 2));
    if (!plan.ok()) return Message(plan.status());
    counts.push_back(plan->num_embeddings);
    crops.push_back({plan->tiles_wide, plan->tiles_high});
  }
  const auto layout = LayOut(*prompt, counts, tokenizer.control_ids().image, 1 << 20);
  if (!layout.ok()) return Message(layout.status());
  const auto expected = entry["input_ids"].get<std::vector<int32_t>>();
  if (layout->input_ids != expected) {
    return Cat("expected ids ", Show(expected), ", got ", Show(layout->input_ids));
  }
  // Only images that a tag takes have a crop.
  crops.erase(crops.begin() + prompt->num_images(), crops.end());
  if (crops != entry["images_spatial_crop"]) return "crops " + crops.dump();
  Json runs = Json::array();
  for (size_t i = 0; i < layout->image_mask.size(); ++i) {
    if (layout->image_mask[i] == 0) continue;
    if (i > 0 && layout->image_mask[i - 1] == 1) {
      runs.back()[1] = runs.back()[1].get<int>() + 1;
    } else {
      runs.push_back({i, 1});
    }
  }
  if (runs != entry["image_token_mask_runs"]) return "mask runs " + runs.dump();
  if (!entry.contains("sft_format")) return "";
  const std::string display = !is_text ? DisplayConversation(tokenizer, messages, system_prompt)
                              : apply  ? DisplayText(text, system_prompt)
                                       : text;
  return display == entry["sft_format"] ? "" : "sft_format " + Json(display).dump();
}

}  // namespace

void CheckTokenizer(const GoldenOptions& options, Report& report) {
  const std::string root = options.dir + "/tokenizer";
  std::error_code error;
  std::set<std::string> names;
  if (fs::is_directory(root, error)) {
    for (const auto& entry : fs::directory_iterator(root)) {
      if (entry.is_directory()) names.insert(entry.path().filename());
    }
  }
  if (names.empty()) report.Absent("tokenizer/");
  for (const std::string& name : names) {
    const std::string item = "tokenizer/" + name;
    const auto tokenizer = Tokenizer::Load(root + "/" + name);
    if (!tokenizer.ok()) {
      report.Check(item, "loads", false, Message(tokenizer.status()));
      continue;
    }
    // A tokenizer without the added tokens gives the ids of the whole one.
    std::string base = root + "/" + name;
    if (const size_t suffix = base.rfind("_without_added"); suffix != std::string::npos) {
      base.resize(suffix);
    }
    const std::string encode = base + "_encode.jsonl";
    const std::string decode = base + "_decode.jsonl";
    if (fs::exists(encode, error)) {
      CheckEncode(item, encode, *tokenizer, report);
    } else {
      report.Absent(item + "_encode.jsonl");
    }
    if (fs::exists(decode, error)) {
      CheckDecode(item, decode, *tokenizer, report);
    } else {
      report.Absent(item + "_decode.jsonl");
    }
  }
}

void CheckProcessor(const GoldenOptions& options, Report& report) {
  const std::string path = options.dir + "/processor/conversations.json";
  std::error_code error;
  if (!fs::exists(path, error)) {
    report.Absent("processor/conversations.json");
    return;
  }
  const auto entries = ParseJsonFile(path);
  const auto tokenizer = Tokenizer::Load(options.dir + "/tokenizer/small");
  if (!entries.ok() || !tokenizer.ok()) {
    report.Check("processor/conversations", "loads", false,
                 entries.ok() ? Message(tokenizer.status()) : Message(entries.status()));
    return;
  }
  const TileGeometry geometry = PublishedGeometry();
  for (size_t i = 0; i < entries->size(); ++i) {
    const Json& entry = (*entries)[i];
    const std::string problem = CheckConversation(entry, *tokenizer, geometry);
    report.Check(Cat("processor/conversations/", i), entry.value("note", ""), problem.empty(),
                 problem.empty() ? "exact" : problem);
  }
}

}  // namespace vl2
