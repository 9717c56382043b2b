// Arguments: the command line of vl2 as plain values.
//
// Pure functions. Errors: INVALID_ARGUMENT naming the flag, its value and what it takes. Ranges
// that the server checks (temperature, top_p, …) are left to it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace vl2::client {

// How the pictures are cut; the modes of vl2.v1.Tiling.
struct TilingChoice {
  enum class Kind { kAuto, kBest, kSingle, kMaxTiles, kFixed };
  Kind kind = Kind::kAuto;
  int max_tiles = 0;
  int tiles_wide = 0;
  int tiles_high = 0;

  friend bool operator==(const TilingChoice&, const TilingChoice&) = default;
};

struct AskArguments {
  std::vector<std::string> pictures;  // paths; "-" is standard input, once at most
  std::string question;
  std::string system;
  int64_t max_tokens = 512;  // 0: what the context leaves
  int samples = 1;
  // Unset: the gateway's defaults.
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<int64_t> top_k;
  std::optional<double> repetition_penalty;
  uint64_t seed = 0;
  std::map<int32_t, double> logit_bias;  // by token id
  bool ignore_end_token = false;
  TilingChoice tiling;
  std::string boxes;  // PNG to write; empty: none
  bool timings = false;
};

struct Arguments {
  enum class Command { kHelp, kAsk, kInfo };
  Command command = Command::kHelp;
  std::string server = "127.0.0.1:50060";  // of the gateway's gRPC
  std::string key;                         // shown to it; empty: none
  std::string tls_ca;                      // PEM file of its certificate's CAs; empty: no TLS
  double timeout_s = 600;
  bool json = false;
  AskArguments ask;
};

// `words`: the command line without the program's name. `environment_server`: VL2_SERVER, or empty.
absl::StatusOr<Arguments> ParseArguments(const std::vector<std::string>& words,
                                         const std::string& environment_server);

std::string HelpText();

}  // namespace vl2::client
