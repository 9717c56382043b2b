// run_once: one question about pictures, answered in one process without any service. See --help.
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "lm_service/engine/engine.h"
#include "runtime/base/cpu_quota.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"
#include "runtime/base/usage.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/ops/make_ops.h"
#include "runtime/weight_format/weight_policy.h"
#include "text/chat_template.h"
#include "text/incremental_detokenizer.h"
#include "text/tokenizer.h"
#include "tools/pictures/encode_picture.h"
#include "tools/run_once/printing_sink.h"
#include "vision_service/image/preprocess.h"
#include "vision_service/model/vision_encoder.h"

ABSL_FLAG(std::string, model, "", "Folder of a DeepSeek-VL2 checkpoint.");
ABSL_FLAG(std::string, weights, "auto", "As lm_service's: auto, bf16, f32, int8 or int4.");
ABSL_FLAG(std::vector<std::string>, image, {}, "Pictures, separated by commas; may be left out.");
ABSL_FLAG(std::string, prompt, "", "The question.");
ABSL_FLAG(std::string, system, "", "A system message; may be left out.");
ABSL_FLAG(int64_t, max_tokens, 256, "Tokens of the answer at most; 0: what the context leaves.");
ABSL_FLAG(double, temperature, 0.4, "0 takes the likeliest token each time.");
ABSL_FLAG(double, top_p, 0.9, "Smallest set of tokens with this probability; 1: off.");
ABSL_FLAG(int64_t, top_k, 50, "Likeliest tokens to draw from; 0: off.");
ABSL_FLAG(double, repetition_penalty, 1.1, "1: off.");
ABSL_FLAG(uint64_t, seed, 0, "Same seed, same answer.");
ABSL_FLAG(bool, ignore_end, false, "Go on after the end token, for measurements.");
ABSL_FLAG(std::string, ops, "cpu", "Backend: cpu or ref.");
ABSL_FLAG(int, threads, 0, "Threads; 0: as many as the machine has.");
ABSL_FLAG(int64_t, max_batch_tokens, 512, "Prompt tokens computed in one step at most.");

namespace vl2 {
namespace {

using Clock = std::chrono::steady_clock;

double MillisecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

// A line of figures on stderr, so that stdout holds the answer alone.
void Note(const char* what, const std::string& text) {
  std::fprintf(stderr, "%-10s %s\n", what, text.c_str());
}

std::string Fixed(double value, int digits = 1) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

// Models, loaded.
struct Loaded {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;
  ImageProcessorConfig processor;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<Ops> ops;
  std::unique_ptr<VisionEncoder> vision;
  std::unique_ptr<LanguageModel> language;
};

absl::StatusOr<Loaded> Load(const std::string& dir) {
  const auto begin = Clock::now();
  Loaded loaded;
  VL2_ASSIGN_OR_RETURN(WeightChoice weights, ParseWeights(absl::GetFlag(FLAGS_weights)));
  VL2_ASSIGN_OR_RETURN(loaded.checkpoint, Checkpoint::Open(dir, weights.type));
  VL2_ASSIGN_OR_RETURN(weights, loaded.checkpoint->Choose(weights));
  VL2_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::Load(dir));
  loaded.tokenizer = std::make_unique<Tokenizer>(std::move(tokenizer));
  VL2_ASSIGN_OR_RETURN(const Json processor, ParseJsonFile(dir + "/processor_config.json"));
  VL2_ASSIGN_OR_RETURN(loaded.processor, ParseImageProcessorConfig(processor));
  const int threads = absl::GetFlag(FLAGS_threads);
  loaded.pool = std::make_unique<ThreadPool>(threads > 0 ? threads : UsableCores());
  VL2_ASSIGN_OR_RETURN(loaded.ops, MakeOps(absl::GetFlag(FLAGS_ops), loaded.pool.get()));

  const LoadProgress progress = [](int64_t bytes) {
    if (isatty(STDERR_FILENO)) {
      std::fprintf(stderr, "\rload       %.2f GB", static_cast<double>(bytes) / 1e9);
    }
  };
  loaded.vision = VisionEncoder::Load(*loaded.checkpoint, *loaded.ops, progress, weights.policy);
  loaded.language = LanguageModel::Load(*loaded.checkpoint, *loaded.ops, progress, weights.policy);
  if (isatty(STDERR_FILENO)) std::fprintf(stderr, "\r");
  Note("load",
       Cat(Fixed(MillisecondsSince(begin) / 1000), " s, ", loaded.pool->num_threads(), " threads"));
  return loaded;
}

absl::StatusOr<EncodedPicture> EncodeImage(Loaded& loaded, const std::string& path, bool cropping) {
  VL2_ASSIGN_OR_RETURN(EncodedPicture encoded,
                       EncodePicture(loaded.processor, *loaded.vision, path, cropping));
  const TilePlan& plan = encoded.plan;
  const auto num_tiles = static_cast<double>(encoded.assembler->num_tiles());
  Note("image", Cat(path, " ", encoded.size, ", ", plan.tiles_wide, " x ", plan.tiles_high,
                    " tiles and a global view, ", plan.num_embeddings, " embeddings"));
  Note("decode", Fixed(encoded.decode_ms) + " ms");
  Note("tiling", Fixed(encoded.tiling_ms) + " ms");
  Note("encode",
       Cat(Fixed(encoded.encode_ms), " ms, ", Fixed(encoded.encode_ms / num_tiles), " ms a tile"));
  return encoded;
}

absl::StatusOr<Prompt> RenderPrompt(const Tokenizer& tokenizer, size_t num_images) {
  std::vector<ChatMessage> messages;
  if (const std::string system = absl::GetFlag(FLAGS_system); !system.empty()) {
    messages.push_back({ChatRole::kSystem, {ContentPart::Text(system)}});
  }
  ChatMessage user = {ChatRole::kUser, {}};
  for (size_t i = 0; i < num_images; ++i) user.parts.push_back(ContentPart::Image());
  user.parts.push_back(ContentPart::Text(absl::GetFlag(FLAGS_prompt)));
  messages.push_back(std::move(user));
  return RenderChat(tokenizer, messages);
}

GenerateRequest MakeRequest(const Loaded& loaded, const Prompt& prompt,
                            const std::vector<EncodedPicture>& images) {
  GenerateRequest request;
  request.request_id = "run_once";
  for (const auto& segment : prompt.segments) {
    if (const auto* slot = std::get_if<ImageSlot>(&segment)) {
      const auto index = static_cast<size_t>(slot->image_index);
      request.parts.push_back(ImagePart{
          .content_key = "", .num_embeddings = images[index].assembler->num_embeddings()});
    } else {
      request.parts.push_back(std::get<Prompt::TokenIds>(segment));
    }
  }
  request.image_token_id = loaded.tokenizer->control_ids().image;
  request.sampling.temperature = absl::GetFlag(FLAGS_temperature);
  request.sampling.top_p = absl::GetFlag(FLAGS_top_p);
  request.sampling.top_k = absl::GetFlag(FLAGS_top_k);
  request.sampling.repetition_penalty = absl::GetFlag(FLAGS_repetition_penalty);
  request.sampling.seed = absl::GetFlag(FLAGS_seed);
  request.max_new_tokens = absl::GetFlag(FLAGS_max_tokens);
  return request;
}

absl::Status Generate(Loaded& loaded, const GenerateRequest& request,
                      const std::vector<EncodedPicture>& images) {
  const int64_t context = loaded.language->config().max_position_embeddings;
  EngineOptions options;
  options.scheduler.num_blocks = BlocksFor(context) + 1;
  options.scheduler.max_batch_tokens = absl::GetFlag(FLAGS_max_batch_tokens);
  options.scheduler.max_step_ms = 10'000;  // nobody else waits
  options.end_token_id = absl::GetFlag(FLAGS_ignore_end) ? -1 : loaded.tokenizer->control_ids().end;
  VL2_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                       Engine::Start(options, *loaded.language));
  const auto sink = std::make_shared<PrintingSink>(*loaded.tokenizer);
  VL2_ASSIGN_OR_RETURN(const Submitted submitted, engine->Submit(request, sink));
  for (size_t i = 0; i < images.size(); ++i) {
    const ConstHostMatrix rows = images[i].assembler->embeddings();
    VL2_RETURN_IF_ERROR(
        engine->AddEmbeddings(submitted.id, static_cast<int>(i), 0,
                              std::vector<float>(rows.data, rows.data + rows.rows * rows.cols)));
  }
  VL2_RETURN_IF_ERROR(sink->Wait());
  engine->Stop();

  const GenerateStats stats = sink->stats();
  const auto prompt = static_cast<double>(stats.prompt_tokens);
  const auto decoded = static_cast<double>(stats.generated_tokens - 1);
  Note("prefill", Cat(stats.prompt_tokens, " tokens, ", Fixed(stats.prefill_ms), " ms, ",
                      Fixed(prompt / stats.prefill_ms * 1000), " tokens/s"));
  Note("decode", Cat(stats.generated_tokens, " tokens, ",
                     decoded > 0 ? Fixed(decoded / stats.decode_ms * 1000) + " tokens/s" : "-"));
  return absl::OkStatus();
}

absl::Status Run() {
  if (absl::GetFlag(FLAGS_model).empty()) return InvalidArgument("--model is needed, see --help");
  VL2_ASSIGN_OR_RETURN(Loaded loaded, Load(absl::GetFlag(FLAGS_model)));
  const std::vector<std::string> paths = absl::GetFlag(FLAGS_image);
  std::vector<EncodedPicture> images;
  for (const std::string& path : paths) {
    VL2_ASSIGN_OR_RETURN(EncodedPicture image, EncodeImage(loaded, path, paths.size() <= 2));
    images.push_back(std::move(image));
  }
  VL2_ASSIGN_OR_RETURN(const Prompt prompt, RenderPrompt(*loaded.tokenizer, images.size()));
  VL2_RETURN_IF_ERROR(Generate(loaded, MakeRequest(loaded, prompt, images), images));
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  Note("memory", Cat(Fixed(static_cast<double>(usage.ru_maxrss) / (1 << 20), 2), " GiB at most"));
  return absl::OkStatus();
}

}  // namespace
}  // namespace vl2

int main(int argc, char** argv) {
  vl2::SetUsage(
      "run_once --model DIR [--image a.png,b.jpg] --prompt \"What is this?\"\n"
      "Answers one question in one process. The answer goes to stdout as it comes, figures go to "
      "stderr.",
      "tools/run_once/main.cc");
  if (absl::ParseCommandLine(argc, argv).size() != 1) {
    std::cerr << "run_once: takes flags only, see --help\n";
    return 2;
  }
  const absl::Status status = vl2::Run();
  if (!status.ok()) {
    std::cerr << "run_once: " << vl2::Message(status) << "\n";
    return 1;
  }
  return 0;
}
