// Reading of tokenizer.json and tokenizer_config.json into a Tokenizer.
#include <algorithm>
#include <unordered_map>
#include <utility>

#include "runtime/base/status.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer.h"

namespace vl2 {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;

// What the published processor calls its tokens.
constexpr std::string_view kPad = "<｜▁pad▁｜>";
constexpr std::string_view kImage = "<image>";
constexpr std::string_view kGroundingTokens[] = {"<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>",
                                                 "<|grounding|>"};
constexpr std::string_view kUser = "<|User|>";
constexpr std::string_view kAssistant = "<|Assistant|>";

bool IsGrounding(std::string_view content) {
  return std::find(std::begin(kGroundingTokens), std::end(kGroundingTokens), content) !=
         std::end(kGroundingTokens);
}

// Some checkpoints hold role tokens that are not marked special: the spelling counts too.
bool IsControl(const AddedToken& token) {
  return token.special ||
         (token.content.size() > 2 && token.content.front() == '<' && token.content.back() == '>');
}

bool Matches(const AddedToken& token, ControlTokens control) {
  if (control == ControlTokens::kAll || !IsControl(token)) return true;
  return control == ControlTokens::kGroundingOnly && IsGrounding(token.content);
}

// Only normalizers that change nothing.
absl::Status CheckNormalizer(const Json& tokenizer) {
  const JsonFields fields(tokenizer, "tokenizer.json");
  const Json* normalizer = fields.Find("normalizer");
  if (normalizer == nullptr) return absl::OkStatus();
  const JsonFields normalizer_fields(*normalizer, "normalizer");
  VL2_ASSIGN_OR_RETURN(const std::string type, normalizer_fields.String("type", std::nullopt));
  const Json* parts = normalizer_fields.Find("normalizers");
  if (type == "Sequence" && parts != nullptr && parts->is_array() && parts->empty()) {
    return absl::OkStatus();
  }
  return InvalidArgument("normalizer: ", type, " is not supported, only an empty Sequence is");
}

absl::Status CheckDecoder(const Json& tokenizer, const Json& config) {
  const JsonFields fields(tokenizer, "tokenizer.json");
  const Json* decoder = fields.Find("decoder");
  if (decoder == nullptr) return InvalidArgument("decoder: missing, ByteLevel is needed");
  VL2_ASSIGN_OR_RETURN(const std::string type,
                       JsonFields(*decoder, "decoder").String("type", std::nullopt));
  if (type != "ByteLevel") {
    return InvalidArgument("decoder: ", type, " is not supported, only ByteLevel is");
  }
  VL2_ASSIGN_OR_RETURN(
      const bool clean_up,
      JsonFields(config, "tokenizer_config.json").Bool("clean_up_tokenization_spaces", false));
  if (clean_up) {
    return InvalidArgument(
        "tokenizer_config.json.clean_up_tokenization_spaces: true is not supported");
  }
  return absl::OkStatus();
}

absl::StatusOr<AddedToken> ReadAddedToken(const Json& json, const std::string& context,
                                          std::optional<int64_t> id) {
  const JsonFields fields(json, context);
  AddedToken token;
  VL2_ASSIGN_OR_RETURN(const int64_t checked_id, fields.Int("id", id, 0, BpeModel::kMaxId));
  token.id = static_cast<int32_t>(checked_id);
  VL2_ASSIGN_OR_RETURN(token.content, fields.String("content", std::nullopt));
  VL2_ASSIGN_OR_RETURN(token.single_word, fields.Bool("single_word", false));
  VL2_ASSIGN_OR_RETURN(token.lstrip, fields.Bool("lstrip", false));
  VL2_ASSIGN_OR_RETURN(token.rstrip, fields.Bool("rstrip", false));
  VL2_ASSIGN_OR_RETURN(token.special, fields.Bool("special", false));
  VL2_ASSIGN_OR_RETURN(token.normalized, fields.Bool("normalized", !token.special));
  if (token.content.empty() || token.content.size() > Tokenizer::kMaxAddedTokenBytes) {
    return InvalidArgument(context, ".content: ", token.content.size(), " bytes; 1 to ",
                           Tokenizer::kMaxAddedTokenBytes, " are allowed");
  }
  return token;
}

// The list of added tokens while it grows: unique contents, unique ids.
class AddedTokenList {
 public:
  // A content that is there already: the id has to be the same, the flags become those of `token`.
  absl::Status Add(AddedToken token, const std::string& context) {
    const auto known = by_content_.find(token.content);
    if (known != by_content_.end()) {
      AddedToken& old = tokens_[known->second];
      if (old.id != token.id) {
        return InvalidArgument(context, ": \"", token.content, "\" has id ", token.id,
                               ", elsewhere ", old.id);
      }
      old = std::move(token);
      return absl::OkStatus();
    }
    if (tokens_.size() == Tokenizer::kMaxAddedTokens) {
      return InvalidArgument(context, ": more than ", Tokenizer::kMaxAddedTokens, " added tokens");
    }
    const auto [used, is_new] = by_id_.emplace(token.id, tokens_.size());
    if (!is_new) {
      return InvalidArgument(context, ": id ", token.id, " of \"", token.content,
                             "\" is also that of \"", tokens_[used->second].content, "\"");
    }
    by_content_.emplace(token.content, tokens_.size());
    tokens_.push_back(std::move(token));
    return absl::OkStatus();
  }

  AddedToken* Find(std::string_view content) {
    const auto it = by_content_.find(content);
    return it == by_content_.end() ? nullptr : &tokens_[it->second];
  }
  const AddedToken* FindId(int32_t id) const {
    const auto it = by_id_.find(id);
    return it == by_id_.end() ? nullptr : &tokens_[it->second];
  }
  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  std::vector<AddedToken> tokens_;
  StringMap<size_t> by_content_;
  std::unordered_map<int32_t, size_t> by_id_;
};

// "bos_token" and its like: a string, or an object with "content".
absl::StatusOr<std::string> ReadTokenName(const Json& config, const char* key,
                                          std::optional<std::string> default_value) {
  const JsonFields fields(config, "tokenizer_config.json");
  const Json* value = fields.Find(key);
  if (value != nullptr && value->is_object()) {
    return JsonFields(*value, Cat("tokenizer_config.json.", key)).String("content", std::nullopt);
  }
  return fields.String(key, std::move(default_value));
}

}  // namespace

// Builds one Tokenizer: steps in the order of Read().
class TokenizerReader {
 public:
  TokenizerReader(const Json& tokenizer, const Json& config)
      : tokenizer_(tokenizer), config_(config) {}

  absl::StatusOr<Tokenizer> Read() {
    VL2_RETURN_IF_ERROR(CheckNormalizer(tokenizer_));
    VL2_RETURN_IF_ERROR(CheckDecoder(tokenizer_, config_));
    VL2_RETURN_IF_ERROR(ReadAddedTokens());
    const JsonFields fields(tokenizer_, "tokenizer.json");
    const Json* pre_tokenizer = fields.Find("pre_tokenizer");
    const Json* model = fields.Find("model");
    if (pre_tokenizer == nullptr || model == nullptr) {
      return InvalidArgument("tokenizer.json: pre_tokenizer and model are needed");
    }
    VL2_ASSIGN_OR_RETURN(PreTokenizer splitter, PreTokenizer::FromJson(*pre_tokenizer));
    StringSet reserved;
    for (const AddedToken& token : added_.tokens()) {
      if (IsControl(token)) reserved.insert(token.content);
    }
    for (const std::string_view name : kGroundingTokens) reserved.emplace(name);
    for (const std::string_view name : {kImage, kUser, kAssistant}) reserved.emplace(name);
    VL2_ASSIGN_OR_RETURN(BpeModel bpe, BpeModel::FromJson(*model, reserved));
    vocabulary_ = bpe.TakeTokens();
    for (const BpeModel::Token& token : vocabulary_)
      vocabulary_ids_.emplace(token.content, token.id);
    VL2_RETURN_IF_ERROR(CheckAddedIds());
    VL2_RETURN_IF_ERROR(AppendMissing());

    Tokenizer result(std::move(splitter), std::move(bpe));
    VL2_RETURN_IF_ERROR(FillMatchers(result));
    FillTable(result);
    VL2_RETURN_IF_ERROR(FillControlIds(result));
    return result;
  }

 private:
  // tokenizer_config.json repeats the added tokens; where the two differ its flags count, as in the
  // published library.
  absl::Status ReadAddedTokens() {
    const Json* list = JsonFields(tokenizer_, "tokenizer.json").Find("added_tokens");
    if (list != nullptr && !list->is_array())
      return InvalidArgument("added_tokens: expected a list");
    for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
      const std::string context = Cat("added_tokens[", i, "]");
      VL2_ASSIGN_OR_RETURN(AddedToken token, ReadAddedToken((*list)[i], context, std::nullopt));
      VL2_RETURN_IF_ERROR(added_.Add(std::move(token), context));
    }
    const Json* decoder = JsonFields(config_, "tokenizer_config.json").Find("added_tokens_decoder");
    if (decoder == nullptr) return absl::OkStatus();
    if (!decoder->is_object()) return InvalidArgument("added_tokens_decoder: expected an object");
    for (const auto& [key, value] : decoder->items()) {
      const std::string context = Cat("added_tokens_decoder.", key);
      if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != key.npos) {
        return InvalidArgument(context, ": the key is not a token id");
      }
      VL2_ASSIGN_OR_RETURN(AddedToken token, ReadAddedToken(value, context, std::stoi(key)));
      VL2_RETURN_IF_ERROR(added_.Add(std::move(token), context));
    }
    return absl::OkStatus();
  }

  // An added token may repeat an entry of the vocabulary (same id, same content), or have an id of
  // its own; it may not take the id of another entry.
  absl::Status CheckAddedIds() const {
    for (const BpeModel::Token& entry : vocabulary_) {
      const AddedToken* added = added_.FindId(entry.id);
      if (added != nullptr && added->content != entry.content) {
        return InvalidArgument("added_tokens: id ", entry.id, " of \"", added->content,
                               "\" is that of \"", entry.content, "\" in model.vocab");
      }
    }
    return absl::OkStatus();
  }

  int32_t NextFreeId() const {
    int32_t next = 0;
    for (const BpeModel::Token& entry : vocabulary_) next = std::max(next, entry.id + 1);
    for (const AddedToken& token : added_.tokens()) next = std::max(next, token.id + 1);
    return next;
  }

  // Makes `content` a special added token.
  absl::Status Ensure(std::string_view content) {
    AddedToken token{
        .id = 0, .content = std::string(content), .normalized = false, .special = true};
    if (const AddedToken* known = added_.Find(content); known != nullptr) {
      if (known->special) return absl::OkStatus();
      token.id = known->id;
    } else if (const auto it = vocabulary_ids_.find(content); it != vocabulary_ids_.end()) {
      token.id = it->second;
    } else {
      token.id = NextFreeId();
      if (token.id > BpeModel::kMaxId) {
        return InvalidArgument("no id is left for \"", content, "\"");
      }
    }
    return added_.Add(std::move(token), "special tokens");
  }

  absl::Status AppendMissing() {
    VL2_ASSIGN_OR_RETURN(pad_, ReadTokenName(config_, "pad_token", std::string(kPad)));
    if (pad_.empty() || pad_.size() > Tokenizer::kMaxAddedTokenBytes) {
      return InvalidArgument("tokenizer_config.json.pad_token: ", pad_.size(), " bytes");
    }
    VL2_RETURN_IF_ERROR(Ensure(pad_));
    VL2_RETURN_IF_ERROR(Ensure(kImage));
    for (const std::string_view name : kGroundingTokens) VL2_RETURN_IF_ERROR(Ensure(name));
    VL2_RETURN_IF_ERROR(Ensure(kUser));
    return Ensure(kAssistant);
  }

  absl::Status FillMatchers(Tokenizer& result) const {
    for (const ControlTokens control :
         {ControlTokens::kAll, ControlTokens::kGroundingOnly, ControlTokens::kNone}) {
      std::vector<AddedToken> first, second;
      for (const AddedToken& token : added_.tokens()) {
        if (Matches(token, control)) (token.normalized ? second : first).push_back(token);
      }
      VL2_ASSIGN_OR_RETURN(AddedTokenMatcher first_matcher, AddedTokenMatcher::Create(first));
      VL2_ASSIGN_OR_RETURN(AddedTokenMatcher second_matcher, AddedTokenMatcher::Create(second));
      result.matchers_.push_back({std::move(first_matcher), std::move(second_matcher)});
    }
    return absl::OkStatus();
  }

  void FillTable(Tokenizer& result) const {
    result.table_.resize(static_cast<size_t>(NextFreeId()));
    result.ids_.reserve(vocabulary_.size() + added_.tokens().size());
    const auto put = [&](int32_t id, std::string_view bytes, bool special) {
      result.table_[static_cast<size_t>(id)] = {static_cast<uint32_t>(result.bytes_.size()),
                                                static_cast<uint32_t>(bytes.size()), special};
      result.bytes_ += bytes;
      result.longest_token_bytes_ = std::max(result.longest_token_bytes_, bytes.size());
    };
    for (const BpeModel::Token& entry : vocabulary_) {
      put(entry.id, BytesOfToken(entry.content).value_or(entry.content), false);
      result.ids_[entry.content] = entry.id;
    }
    for (const AddedToken& token : added_.tokens()) {
      put(token.id, token.content, token.special);
      result.ids_[token.content] = token.id;
    }
    for (const AddedToken& token : added_.tokens()) {
      if (token.lstrip || token.rstrip) result.longest_token_bytes_ = 0;
    }
  }

  absl::Status FillControlIds(Tokenizer& result) const {
    ControlTokenIds& ids = result.control_ids_;
    VL2_ASSIGN_OR_RETURN(const std::string begin,
                         ReadTokenName(config_, "bos_token", std::nullopt));
    VL2_ASSIGN_OR_RETURN(const std::string end, ReadTokenName(config_, "eos_token", std::nullopt));
    const std::pair<std::string_view, int32_t*> targets[] = {
        {begin, &ids.begin},
        {end, &ids.end},
        {pad_, &ids.pad},
        {kImage, &ids.image},
        {kGroundingTokens[0], &ids.ref},
        {kGroundingTokens[1], &ids.end_ref},
        {kGroundingTokens[2], &ids.det},
        {kGroundingTokens[3], &ids.end_det},
        {kGroundingTokens[4], &ids.grounding},
        {kUser, &ids.user},
        {kAssistant, &ids.assistant},
    };
    for (const auto& [content, id] : targets) {
      const std::optional<int32_t> found = result.FindToken(content);
      if (!found) return InvalidArgument("\"", content, "\" is not in the vocabulary");
      *id = *found;
    }
    return absl::OkStatus();
  }

  const Json& tokenizer_;
  const Json& config_;
  AddedTokenList added_;
  std::vector<BpeModel::Token> vocabulary_;
  std::unordered_map<std::string_view, int32_t> vocabulary_ids_;  // views of vocabulary_
  std::string pad_;
};

absl::StatusOr<Tokenizer> Tokenizer::FromJson(const Json& tokenizer, const Json& tokenizer_config) {
  return TokenizerReader(tokenizer, tokenizer_config).Read();
}

absl::StatusOr<Tokenizer> Tokenizer::Load(const std::string& checkpoint_folder) {
  const JsonLimits limits{.max_bytes = kMaxFileBytes};
  VL2_ASSIGN_OR_RETURN(const Json tokenizer,
                       ParseJsonFile(checkpoint_folder + "/tokenizer.json", limits));
  VL2_ASSIGN_OR_RETURN(const Json config,
                       ParseJsonFile(checkpoint_folder + "/tokenizer_config.json", limits));
  auto result = FromJson(tokenizer, config);
  if (!result.ok()) return Annotate(result.status(), checkpoint_folder);
  return result;
}

}  // namespace vl2
