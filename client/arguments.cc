#include "client/arguments.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <string_view>
#include <type_traits>

#include "runtime/base/status.h"
#include "runtime/rpc/host_port.h"

namespace vl2::client {
namespace {

constexpr int kMaxSamples = 16;
constexpr int kMaxTiles = 64;
constexpr double kMaxTimeoutS = 86'400;

// The whole text as a number of [min, max].
template <typename T>
absl::Status ParseNumber(std::string_view text, T min, T max, T& value) {
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || !(number >= min) ||
      !(number <= max)) {
    return InvalidArgument("\"", text, "\" is not a number from ", min, " to ", max);
  }
  value = number;
  return absl::OkStatus();
}

// Any finite number: the server knows the range.
absl::Status ParseReal(std::string_view text, std::optional<double>& value) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(number)) {
    return InvalidArgument("\"", text, "\" is not a number");
  }
  value = number;
  return absl::OkStatus();
}

absl::Status ParseTiling(const std::string& text, TilingChoice& tiling) {
  using Kind = TilingChoice::Kind;
  if (text == "auto") {
    tiling = {.kind = Kind::kAuto};
  } else if (text == "best") {
    tiling = {.kind = Kind::kBest};
  } else if (text == "single") {
    tiling = {.kind = Kind::kSingle};
  } else if (text.starts_with("max:")) {
    tiling = {.kind = Kind::kMaxTiles};
    return ParseNumber(std::string_view(text).substr(4), 1, kMaxTiles, tiling.max_tiles);
  } else if (const size_t x = text.find('x'); x != std::string::npos) {
    tiling = {.kind = Kind::kFixed};
    VL2_RETURN_IF_ERROR(
        ParseNumber(std::string_view(text).substr(0, x), 1, kMaxTiles, tiling.tiles_wide));
    return ParseNumber(std::string_view(text).substr(x + 1), 1, kMaxTiles, tiling.tiles_high);
  } else {
    return InvalidArgument("\"", text, "\" is none of auto, best, single, max:N, WxH");
  }
  return absl::OkStatus();
}

absl::Status ParseLogitBias(const std::string& text, std::map<int32_t, double>& biases) {
  std::stringstream list(text);
  for (std::string entry; std::getline(list, entry, ',');) {
    const size_t colon = entry.find(':');
    if (colon == std::string::npos) return InvalidArgument("\"", entry, "\" is not ID:VALUE");
    int32_t id = 0;
    VL2_RETURN_IF_ERROR(ParseNumber(std::string_view(entry).substr(0, colon), 0, INT32_MAX, id));
    VL2_RETURN_IF_ERROR(
        ParseNumber(std::string_view(entry).substr(colon + 1), -100.0, 100.0, biases[id]));
  }
  return absl::OkStatus();
}

absl::Status ParseServer(const std::string& text, std::string& server) {
  VL2_ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(text));
  server = address.ToString();
  return absl::OkStatus();
}

struct Flag {
  const char* name;
  const char* takes;  // what --help calls the value; nullptr: no value
  const char* help;
  bool of_info;  // info has it too
  absl::Status (*set)(const std::string& value, Arguments& arguments);
};

const Flag kFlags[] = {
    {"server", "HOST:PORT", "gRPC address of the gateway (127.0.0.1:50060, or VL2_SERVER)", true,
     [](const std::string& text, Arguments& to) { return ParseServer(text, to.server); }},
    {"key", "KEY", "shown to a gateway that asks for one (better: VL2_KEY)", true,
     [](const std::string& text, Arguments& to) {
       to.key = text;
       return absl::OkStatus();
     }},
    {"tls_ca", "FILE", "the gateway has TLS; PEM file of the CAs that it must be of", true,
     [](const std::string& text, Arguments& to) {
       if (text.empty()) return InvalidArgument("a file is needed");
       to.tls_ca = text;
       return absl::OkStatus();
     }},
    {"timeout", "SECONDS", "give up after this long (600)", true,
     [](const std::string& text, Arguments& to) {
       return ParseNumber(text, 0.001, kMaxTimeoutS, to.timeout_s);
     }},
    {"json", nullptr, "events as JSON, one a line (info: one object)", true,
     [](const std::string&, Arguments& to) {
       to.json = true;
       return absl::OkStatus();
     }},
    {"max_tokens", "N", "longest answer (512); 0: what the context leaves", false,
     [](const std::string& text, Arguments& to) {
       return ParseNumber<int64_t>(text, 0, INT64_MAX, to.ask.max_tokens);
     }},
    {"temperature", "T", "0 takes the likeliest token (the gateway's default)", false,
     [](const std::string& text, Arguments& to) { return ParseReal(text, to.ask.temperature); }},
    {"top_p", "P", "(the gateway's default)", false,
     [](const std::string& text, Arguments& to) { return ParseReal(text, to.ask.top_p); }},
    {"top_k", "K", "0: off (the gateway's default)", false,
     [](const std::string& text, Arguments& to) {
       return ParseNumber<int64_t>(text, 0, INT64_MAX, to.ask.top_k.emplace());
     }},
    {"repetition_penalty", "R", "1: off (the gateway's default)", false,
     [](const std::string& text, Arguments& to) {
       return ParseReal(text, to.ask.repetition_penalty);
     }},
    {"logit_bias", "ID:B,…", "added to the logits of these token ids, -100 to 100", false,
     [](const std::string& text, Arguments& to) {
       return ParseLogitBias(text, to.ask.logit_bias);
     }},
    {"seed", "N", "of the random choice (0)", false,
     [](const std::string& text, Arguments& to) {
       return ParseNumber<uint64_t>(text, 0, UINT64_MAX, to.ask.seed);
     }},
    {"samples", "N", "answers to draw, 1 to 16 (1)", false,
     [](const std::string& text, Arguments& to) {
       return ParseNumber(text, 1, kMaxSamples, to.ask.samples);
     }},
    {"system", "TEXT", "system message", false,
     [](const std::string& text, Arguments& to) {
       to.ask.system = text;
       return absl::OkStatus();
     }},
    {"ignore_end_token", nullptr, "go on to max_tokens, for measurements", false,
     [](const std::string&, Arguments& to) {
       to.ask.ignore_end_token = true;
       return absl::OkStatus();
     }},
    {"tiling", "RULE", "auto, best, single, max:N or WxH tiles beside the global view (auto)",
     false,
     [](const std::string& text, Arguments& to) { return ParseTiling(text, to.ask.tiling); }},
    {"boxes", "OUT.png", "draw the boxes of the answer on the picture; see below", false,
     [](const std::string& text, Arguments& to) {
       if (!text.ends_with(".png")) return InvalidArgument("\"", text, "\" does not end in .png");
       to.ask.boxes = text;
       return absl::OkStatus();
     }},
    {"timings", nullptr, "times and token counts on standard error", false,
     [](const std::string&, Arguments& to) {
       to.ask.timings = true;
       return absl::OkStatus();
     }},
};

// `words[at]` is a flag; moves `at` to its last word.
absl::Status TakeFlag(const std::vector<std::string>& words, size_t& at, Arguments& arguments) {
  const std::string& word = words[at];
  const size_t equals = word.find('=');
  std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
  std::replace(name.begin(), name.end(), '-', '_');
  const bool info = arguments.command == Arguments::Command::kInfo;
  const auto* const flag =
      std::find_if(std::begin(kFlags), std::end(kFlags),
                   [&](const Flag& each) { return name == each.name && (each.of_info || !info); });
  if (flag == std::end(kFlags)) {
    return InvalidArgument("--", name, " is no flag of ", info ? "info" : "ask");
  }
  std::string value;
  if (equals != std::string::npos) {
    if (flag->takes == nullptr) return InvalidArgument("--", name, " takes no value");
    value = word.substr(equals + 1);
  } else if (flag->takes != nullptr) {
    if (at + 1 == words.size()) return InvalidArgument("--", name, " needs ", flag->takes);
    value = words[++at];
  }
  return Annotate(flag->set(value, arguments), "--" + name);
}

absl::Status TakePositionals(std::vector<std::string> words, Arguments& arguments) {
  if (arguments.command == Arguments::Command::kInfo) {
    if (words.empty()) return absl::OkStatus();
    return InvalidArgument("info takes flags only, not \"", words[0], "\"");
  }
  AskArguments& ask = arguments.ask;
  if (words.empty() || words.back().empty()) return InvalidArgument("a question is needed");
  ask.question = words.back();
  words.pop_back();
  if (std::count(words.begin(), words.end(), "-") > 1) {
    return InvalidArgument("standard input (-) can be one picture only");
  }
  if (std::count(words.begin(), words.end(), "") > 0) {
    return InvalidArgument("a picture's path is empty");
  }
  ask.pictures = std::move(words);
  if (ask.question == "-") return InvalidArgument("the question comes last, and is not \"-\"");
  if (!ask.boxes.empty() && ask.pictures.empty()) {
    return InvalidArgument("--boxes needs a picture");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Arguments> ParseArguments(const std::vector<std::string>& words,
                                         const std::string& environment_server) {
  Arguments arguments;
  const auto wants_help = [](const std::string& word) { return word == "--help" || word == "-h"; };
  if (words.empty()) return InvalidArgument("a command is needed: ask or info");
  if (wants_help(words[0]) || words[0] == "help") return arguments;
  if (words[0] == "ask") {
    arguments.command = Arguments::Command::kAsk;
  } else if (words[0] == "info") {
    arguments.command = Arguments::Command::kInfo;
  } else {
    return InvalidArgument("\"", words[0], "\" is no command: ask or info");
  }
  if (!environment_server.empty()) {
    VL2_RETURN_IF_ERROR(Annotate(ParseServer(environment_server, arguments.server), "VL2_SERVER"));
  }
  std::vector<std::string> positionals;
  bool flags_end = false;
  for (size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (flags_end || word == "-" || !word.starts_with("-")) {
      positionals.push_back(word);
    } else if (word == "--") {
      flags_end = true;
    } else if (wants_help(word)) {
      return Arguments{};
    } else if (word.starts_with("--")) {
      VL2_RETURN_IF_ERROR(TakeFlag(words, i, arguments));
    } else {
      return InvalidArgument("\"", word, "\" is no flag; -- ends the flags");
    }
  }
  VL2_RETURN_IF_ERROR(TakePositionals(std::move(positionals), arguments));
  return arguments;
}

std::string HelpText() {
  std::ostringstream out;
  out << "vl2: asks a running vl2serve about pictures.\n\n"
         "  vl2 ask [flags] [PICTURE...] \"QUESTION\"   the answer, as it is made\n"
         "  vl2 info [flags]                          model, limits, services and their load\n\n"
         "PICTURE is a JPEG, PNG, WebP, GIF or TIFF file of at most 20 MiB; - reads one from\n"
         "standard input. Flags may stand anywhere, as --name VALUE or --name=VALUE; -- ends "
         "them.\n";
  for (const bool of_info : {true, false}) {
    out << (of_info ? "\nOf both commands:\n" : "\nOf ask:\n");
    for (const Flag& flag : kFlags) {
      if (flag.of_info != of_info) continue;
      std::string left = Cat("  --", flag.name, " ", flag.takes == nullptr ? "" : flag.takes);
      // The ellipsis is one column of three bytes.
      const size_t columns = left.size() - (left.find("…") == std::string::npos ? 0 : 2);
      left.append(columns < 26 ? 26 - columns : 1, ' ');
      out << left << flag.help << "\n";
    }
  }
  out << "\n--boxes draws what the answer points at (a question such as \"<|ref|>the "
         "dog<|/ref|>.\"\n"
         "asks for it) on the upright picture. With several pictures OUT-0.png, OUT-1.png, … are\n"
         "written, counted in order, for those with boxes.\n\n"
         "A terminal shows progress on standard error; anything else gets the answer alone.\n\n"
         "Exit status: 0 answered; 1 a file cannot be read or written; 2 wrong usage; 3 the "
         "gateway\n"
         "or a service behind it cannot be reached; 4 refused (a picture or value that is not\n"
         "accepted); 5 all replicas are full, try later; 6 --timeout passed; 7 --boxes was given "
         "and\n"
         "the answer has none; 8 the server failed; 130 interrupted.\n";
  return out.str();
}

}  // namespace vl2::client
