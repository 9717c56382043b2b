// compare_weights: what a checkpoint loses when its weights are kept as integers. Answers some
// questions with the weights as stored, then shows every token of these answers to the model with
// other weights and compares. See --help and docs/quantization.md.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "lm_service/kv_cache/kv_cache.h"
#include "lm_service/model/language_model.h"
#include "runtime/base/cpu_quota.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"
#include "runtime/base/usage.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/ops/make_ops.h"
#include "runtime/weight_format/weight_policy.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "tools/pictures/encode_picture.h"

ABSL_FLAG(std::string, model, "", "Folder of a DeepSeek-VL2 checkpoint.");
ABSL_FLAG(std::vector<std::string>, weights, std::vector<std::string>({"int8", "int4"}),
          "Values of lm_service's --weights to compare with the weights as stored.");
ABSL_FLAG(
    std::string, cache_dtype, "f32",
    "As lm_service's: f32 or bf16, of the weights that are compared; those as stored have f32.");
ABSL_FLAG(std::string, questions, "",
          "File with one JSON object a line: {\"prompt\": …, \"images\": [files beside it], "
          "\"answer\": …}; images and answer may be left out.");
ABSL_FLAG(std::vector<std::string>, image, {}, "Pictures of --prompt, separated by commas.");
ABSL_FLAG(std::string, prompt, "", "A question, in place of --questions.");
ABSL_FLAG(int64_t, tokens, 64, "Tokens of an answer at most.");
ABSL_FLAG(double, max_kl, 0, "Fail when a mean KL divergence is above this; 0: never.");
ABSL_FLAG(int, threads, 0, "Threads; 0: as many as the machine has.");

namespace vl2 {
namespace {

struct Question {
  std::string prompt;
  std::vector<std::string> images;
  std::string answer;  // empty: what the model says with its weights as stored
};

// What one model computes for a question; rows are the positions that foretell the answer's tokens.
struct Outputs {
  std::vector<float> log_probs;            // [rows, vocab]
  std::vector<std::vector<float>> hidden;  // by layer: [rows, hidden]
  std::vector<float> embeddings;           // of all pictures
  std::vector<std::vector<float>> tower;   // by block: some rows of the pictures' global views
};

class Model {
 public:
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& dir,
                                                     const WeightChoice& weights,
                                                     DType cache_dtype = DType::kF32) {
    std::unique_ptr<Model> model(new Model);
    model->cache_dtype_ = cache_dtype;
    VL2_ASSIGN_OR_RETURN(model->checkpoint_, Checkpoint::Open(dir, weights.type));
    VL2_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::Load(dir));
    model->tokenizer_ = std::make_unique<Tokenizer>(std::move(tokenizer));
    VL2_ASSIGN_OR_RETURN(const Json processor, ParseJsonFile(dir + "/processor_config.json"));
    VL2_ASSIGN_OR_RETURN(model->processor_, ParseImageProcessorConfig(processor));
    const int threads = absl::GetFlag(FLAGS_threads);
    model->pool_ = std::make_unique<ThreadPool>(threads > 0 ? threads : UsableCores());
    VL2_ASSIGN_OR_RETURN(model->ops_, MakeOps("cpu", model->pool_.get()));
    VL2_ASSIGN_OR_RETURN(const WeightChoice choice, model->checkpoint_->Choose(weights));
    model->vision_ = VisionEncoder::Load(*model->checkpoint_, *model->ops_, {}, choice.policy);
    model->language_ = LanguageModel::Load(*model->checkpoint_, *model->ops_, {}, choice.policy);
    return model;
  }

  // Ids of the question's answer, the end token included where it came or `answer` is given.
  absl::StatusOr<std::vector<int32_t>> Answer(const Question& question) {
    if (!question.answer.empty()) {
      VL2_ASSIGN_OR_RETURN(std::vector<int32_t> ids, tokenizer_->Encode(question.answer));
      ids.push_back(tokenizer_->control_ids().end);
      return ids;
    }
    VL2_ASSIGN_OR_RETURN(Input input, Prepare(question));
    const auto length = static_cast<int64_t>(input.ids.size());
    Sequence sequence(*language_, cache_dtype_, length + absl::GetFlag(FLAGS_tokens));
    std::vector<int32_t> answer;
    while (static_cast<int64_t>(answer.size()) < absl::GetFlag(FLAGS_tokens)) {
      const int64_t first = answer.empty() ? 0 : length + static_cast<int64_t>(answer.size()) - 1;
      const std::vector<float> logits = Forward(
          sequence, input, first, length, {static_cast<int64_t>(input.ids.size()) - 1}, nullptr);
      const auto id =
          static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
      answer.push_back(id);
      input.ids.push_back(id);
      if (id == tokenizer_->control_ids().end) break;
    }
    return answer;
  }

  absl::StatusOr<Outputs> Run(const Question& question, const std::vector<int32_t>& answer) {
    VL2_ASSIGN_OR_RETURN(Input input, Prepare(question));
    const auto length = static_cast<int64_t>(input.ids.size());
    input.ids.insert(input.ids.end(), answer.begin(), answer.end() - 1);
    std::vector<int64_t> watched;
    for (int64_t i = 0; i < static_cast<int64_t>(answer.size()); ++i) {
      watched.push_back(length - 1 + i);
    }
    Sequence sequence(*language_, cache_dtype_, static_cast<int64_t>(input.ids.size()));
    HiddenTap tap(watched);
    Outputs outputs;
    outputs.log_probs =
        Forward(sequence, input, 0, static_cast<int64_t>(input.ids.size()), watched, &tap);
    const auto vocab = static_cast<size_t>(language_->vocab_size());
    for (size_t row = 0; row < watched.size(); ++row) {
      LogSoftmax(std::span(outputs.log_probs).subspan(row * vocab, vocab));
    }
    outputs.hidden = std::move(tap.layers);
    for (const auto& picture : input.pictures) {
      outputs.tower.resize(picture->tower.size());
      for (size_t block = 0; block < picture->tower.size(); ++block) {
        outputs.tower[block].insert(outputs.tower[block].end(), picture->tower[block].begin(),
                                    picture->tower[block].end());
      }
      const ConstHostMatrix values = picture->encoded.assembler->embeddings();
      outputs.embeddings.insert(outputs.embeddings.end(), values.data,
                                values.data + values.rows * values.cols);
    }
    return outputs;
  }

 private:
  struct Picture {
    EncodedPicture encoded;
    std::vector<std::vector<float>> tower;  // as Outputs'
  };

  struct Input {
    std::vector<int32_t> ids;
    std::vector<std::shared_ptr<const Picture>> pictures;
    std::vector<std::pair<int64_t, size_t>> places;  // position of a picture's first embedding
  };

  struct Sequence {
    Sequence(const LanguageModel& model, DType cache_dtype, int64_t num_tokens)
        : cache(model.MakeCache(BlocksFor(num_tokens), cache_dtype)) {
      for (int64_t i = 0; i < BlocksFor(num_tokens); ++i) {
        blocks.push_back(static_cast<int32_t>(i));
      }
    }
    std::unique_ptr<PagedCache> cache;
    std::vector<int32_t> blocks;
  };

  // Every 64th row after each block of the tower.
  class TowerTap final : public Tap {
   public:
    void OnMatrix(std::string_view name, ConstHostMatrix values) override {
      if (!name.starts_with("vision.block")) return;
      std::vector<float>& kept = blocks.emplace_back();
      for (int64_t row = 0; row < values.rows; row += 64) {
        kept.insert(kept.end(), values.row(row), values.row(row) + values.cols);
      }
    }
    void OnExperts(int64_t, MatrixView<const int32_t>, ConstHostMatrix) override {}
    std::vector<std::vector<float>> blocks;
  };

  class HiddenTap final : public Tap {
   public:
    explicit HiddenTap(std::span<const int64_t> rows) : rows_(rows.begin(), rows.end()) {}
    void OnMatrix(std::string_view name, ConstHostMatrix values) override {
      if (!name.starts_with("hidden.layer")) return;
      std::vector<float>& kept = layers.emplace_back();
      for (const int64_t row : rows_) {
        kept.insert(kept.end(), values.row(row), values.row(row) + values.cols);
      }
    }
    void OnExperts(int64_t, MatrixView<const int32_t>, ConstHostMatrix) override {}
    std::vector<std::vector<float>> layers;

   private:
    const std::vector<int64_t> rows_;
  };

  Model() = default;

  static void LogSoftmax(std::span<float> logits) {
    const double largest = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float logit : logits) sum += std::exp(logit - largest);
    const double shift = largest + std::log(sum);
    for (float& logit : logits) logit = static_cast<float>(logit - shift);
  }

  // Questions about one picture often follow each other: the last one is kept.
  absl::StatusOr<std::shared_ptr<const Picture>> Encode(const std::string& path, bool cropping) {
    if (const std::string key = Cat(path, cropping ? "" : " whole"); key != last_path_) {
      TowerTap tap;
      VL2_ASSIGN_OR_RETURN(EncodedPicture picture,
                           EncodePicture(processor_, *vision_, path, cropping, &tap));
      last_picture_ =
          std::make_shared<const Picture>(Picture{std::move(picture), std::move(tap.blocks)});
      last_path_ = key;
    }
    return last_picture_;
  }

  absl::StatusOr<Input> Prepare(const Question& question) {
    Input input;
    for (const std::string& path : question.images) {
      VL2_ASSIGN_OR_RETURN(input.pictures.emplace_back(),
                           Encode(path, question.images.size() <= 2));
    }
    ChatMessage user = {ChatRole::kUser, {}};
    for (size_t i = 0; i < question.images.size(); ++i) user.parts.push_back(ContentPart::Image());
    user.parts.push_back(ContentPart::Text(question.prompt));
    VL2_ASSIGN_OR_RETURN(const Prompt prompt, RenderChat(*tokenizer_, std::span(&user, 1)));
    for (const auto& segment : prompt.segments) {
      if (const auto* slot = std::get_if<ImageSlot>(&segment)) {
        const auto index = static_cast<size_t>(slot->image_index);
        input.places.emplace_back(static_cast<int64_t>(input.ids.size()), index);
        input.ids.insert(
            input.ids.end(),
            static_cast<size_t>(input.pictures[index]->encoded.assembler->num_embeddings()),
            tokenizer_->control_ids().image);
      } else {
        const auto& ids = std::get<Prompt::TokenIds>(segment);
        input.ids.insert(input.ids.end(), ids.begin(), ids.end());
      }
    }
    return input;
  }

  // Positions [first, ids.size()); the logits of the watched ones, which are among them.
  std::vector<float> Forward(Sequence& sequence, const Input& input, int64_t first,
                             int64_t num_prompt, std::vector<int64_t> watched, Tap* tap) {
    const int64_t count = static_cast<int64_t>(input.ids.size()) - first;
    const SequenceRows rows = {.first_row = 0,
                               .num_rows = count,
                               .first_position = first,
                               .num_prompt = num_prompt,
                               .block_table = sequence.blocks.data()};
    std::vector<int32_t> logit_rows;
    for (const int64_t position : watched) {
      logit_rows.push_back(static_cast<int32_t>(position - first));
    }
    const std::unique_ptr<Batch> batch = ops_->NewBatch();
    language_->SetBatch(std::span(&rows, 1),
                        std::span(input.ids).subspan(static_cast<size_t>(first)), logit_rows,
                        *sequence.cache, batch.get());
    GrowingMatrix x_memory(ops_->device());
    GrowingMatrix logits_memory(ops_->device());
    const Matrix x = x_memory.Resize(count, language_->hidden());
    language_->Embed(*batch, x);
    if (first == 0) {
      for (const auto& [position, index] : input.places) {
        const ConstHostMatrix values = input.pictures[index]->encoded.assembler->embeddings();
        ops_->WriteRows({.values = values, .out = x.Rows(position, values.rows)});
      }
    }
    const Matrix logits =
        logits_memory.Resize(static_cast<int64_t>(logit_rows.size()), language_->vocab_size());
    language_->Forward({.batch = batch.get(),
                        .x = x,
                        .cache = sequence.cache.get(),
                        .logits = logits,
                        .tap = tap});
    GrowingHostMatrix host;
    const ConstHostMatrix values = ToHost(ConstMatrix(logits), host);
    return std::vector<float>(values.data, values.data + values.rows * values.cols);
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Tokenizer> tokenizer_;
  ImageProcessorConfig processor_;
  std::unique_ptr<ThreadPool> pool_;
  DType cache_dtype_ = DType::kF32;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<VisionEncoder> vision_;
  std::unique_ptr<LanguageModel> language_;
  std::string last_path_;
  std::shared_ptr<const Picture> last_picture_;
};

struct Error {
  double wrong = 0, all = 0;
  void Add(std::span<const float> expected, std::span<const float> actual) {
    for (size_t i = 0; i < expected.size(); ++i) {
      const double difference = double{expected[i]} - double{actual[i]};
      wrong += difference * difference;
      all += double{expected[i]} * expected[i];
    }
  }
  double Percent() const { return all > 0 ? 100 * std::sqrt(wrong / all) : 0; }
};

void PrintErrors(const char* what, std::span<const Error> errors) {
  if (errors.empty()) return;
  std::printf("  %s:", what);
  for (size_t i = 0; i < errors.size(); ++i) {
    std::printf(" %zu: %.2f%%%s", i, errors[i].Percent(), i + 1 < errors.size() ? "," : "\n");
  }
}

absl::StatusOr<std::vector<Question>> ReadQuestions() {
  const std::string path = absl::GetFlag(FLAGS_questions);
  if (path.empty()) {
    if (absl::GetFlag(FLAGS_prompt).empty()) {
      return InvalidArgument("--questions or --prompt is needed, see --help");
    }
    return std::vector<Question>{{absl::GetFlag(FLAGS_prompt), absl::GetFlag(FLAGS_image), ""}};
  }
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(Cat(path, ": cannot be read"));
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::vector<Question> questions;
  for (std::string line; std::getline(file, line);) {
    if (line.empty()) continue;
    const std::string where = Cat(path, ", line ", questions.size() + 1);
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object() || !json.value("prompt", Json()).is_string()) {
      return InvalidArgument(where, ": expected an object with a \"prompt\"");
    }
    Question question = {json["prompt"].get<std::string>(), {}, ""};
    for (const Json& image : json.value("images", Json::array())) {
      if (!image.is_string()) return InvalidArgument(where, ": \"images\" are names of files");
      question.images.push_back((folder / image.get<std::string>()).string());
    }
    const Json answer = json.value("answer", Json(""));
    if (!answer.is_string()) return InvalidArgument(where, ": \"answer\" is no string");
    question.answer = answer.get<std::string>();
    questions.push_back(std::move(question));
  }
  if (questions.empty()) return InvalidArgument(path, ": no questions");
  return questions;
}

// KL(stored ‖ other) of each position, and what goes with it.
struct Divergence {
  std::vector<double> kl;
  int64_t same_best = 0;
  double log_prob_change = 0;  // of the answer's tokens

  void Add(std::span<const float> stored, std::span<const float> other,
           const std::vector<int32_t>& answer) {
    const size_t vocab = stored.size() / answer.size();
    for (size_t row = 0; row < answer.size(); ++row) {
      const auto p = stored.subspan(row * vocab, vocab);
      const auto q = other.subspan(row * vocab, vocab);
      double sum = 0;
      for (size_t i = 0; i < vocab; ++i)
        sum += std::exp(double{p[i]}) * (double{p[i]} - double{q[i]});
      kl.push_back(sum);
      same_best += std::max_element(p.begin(), p.end()) - p.begin() ==
                   std::max_element(q.begin(), q.end()) - q.begin();
      const auto id = static_cast<size_t>(answer[row]);
      log_prob_change += double{q[id]} - double{p[id]};
    }
  }
  double Mean() const {
    double sum = 0;
    for (const double each : kl) sum += each;
    return sum / static_cast<double>(kl.size());
  }
};

absl::Status Compare() {
  const std::string dir = absl::GetFlag(FLAGS_model);
  if (dir.empty()) return InvalidArgument("--model is needed, see --help");
  if (absl::GetFlag(FLAGS_tokens) < 1) {
    return InvalidArgument("--tokens ", absl::GetFlag(FLAGS_tokens), " must be at least 1");
  }
  VL2_ASSIGN_OR_RETURN(const DType dtype, ParseCacheDType(absl::GetFlag(FLAGS_cache_dtype)));
  std::vector<WeightChoice> choices;
  for (const std::string& name : absl::GetFlag(FLAGS_weights)) {
    VL2_ASSIGN_OR_RETURN(choices.emplace_back(), ParseWeights(name));
  }
  VL2_ASSIGN_OR_RETURN(const std::vector<Question> questions, ReadQuestions());
  std::vector<std::vector<int32_t>> answers;
  std::vector<Outputs> stored;
  {
    VL2_ASSIGN_OR_RETURN(const auto model, Model::Load(dir, {}));
    for (const Question& question : questions) {
      VL2_ASSIGN_OR_RETURN(answers.emplace_back(), model->Answer(question));
      VL2_ASSIGN_OR_RETURN(stored.emplace_back(), model->Run(question, answers.back()));
    }
  }
  absl::Status status = absl::OkStatus();
  for (size_t c = 0; c < choices.size(); ++c) {
    const std::string name = absl::GetFlag(FLAGS_weights)[c];
    VL2_ASSIGN_OR_RETURN(const auto model, Model::Load(dir, choices[c], dtype));
    Divergence divergence;
    Error embeddings;
    std::vector<Error> layers(stored[0].hidden.size());
    std::vector<Error> blocks;
    for (size_t i = 0; i < questions.size(); ++i) {
      VL2_ASSIGN_OR_RETURN(const Outputs outputs, model->Run(questions[i], answers[i]));
      divergence.Add(stored[i].log_probs, outputs.log_probs, answers[i]);
      embeddings.Add(stored[i].embeddings, outputs.embeddings);
      for (size_t layer = 0; layer < layers.size(); ++layer) {
        layers[layer].Add(stored[i].hidden[layer], outputs.hidden[layer]);
      }
      blocks.resize(std::max(blocks.size(), outputs.tower.size()));
      for (size_t block = 0; block < outputs.tower.size(); ++block) {
        blocks[block].Add(stored[i].tower[block], outputs.tower[block]);
      }
    }
    const auto count = static_cast<double>(divergence.kl.size());
    std::printf("%s: %zu questions, %zu tokens\n", name.c_str(), questions.size(),
                divergence.kl.size());
    std::printf("  KL divergence to the weights as stored: mean %.5f, largest %.4f\n",
                divergence.Mean(), *std::max_element(divergence.kl.begin(), divergence.kl.end()));
    std::printf(
        "  likeliest token the same: %.1f%%; log-probability of the answers' tokens: %+.4f\n",
        100 * static_cast<double>(divergence.same_best) / count,
        divergence.log_prob_change / count);
    if (embeddings.all > 0) {
      std::printf("  pictures' embeddings: relative error %.2f%%\n", embeddings.Percent());
    }
    PrintErrors("tower after block", blocks);
    PrintErrors("hidden state after layer", layers);
    std::fflush(stdout);
    const double limit = absl::GetFlag(FLAGS_max_kl);
    if (limit > 0 && !(divergence.Mean() <= limit)) {
      status = absl::FailedPreconditionError(
          Cat(name, ": mean KL divergence ", divergence.Mean(), " is above --max_kl ", limit));
    }
  }
  return status;
}

}  // namespace
}  // namespace vl2

int main(int argc, char** argv) {
  vl2::SetUsage(
      "compare_weights --model DIR (--questions FILE | --prompt TEXT [--image a.png,b.jpg])\n"
      "Compares answers with weights as integers, token by token, with those of the weights as "
      "stored.",
      "tools/compare_weights/main.cc");
  if (absl::ParseCommandLine(argc, argv).size() != 1) {
    std::cerr << "compare_weights: unexpected arguments, see --help\n";
    return 2;
  }
  const absl::Status status = vl2::Compare();
  if (!status.ok()) {
    std::cerr << "compare_weights: " << vl2::Message(status) << "\n";
    return 1;
  }
  return 0;
}
