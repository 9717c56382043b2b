// The keys of config.json and processor_config.json: which are read, which say nothing about
// answers, which newer writers have moved or renamed, and which are unknown.
//
// Pure functions.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "runtime/base/json.h"
#include "runtime/checkpoint/config.h"

namespace vl2 {

enum class ConfigSection { kTop, kVision, kProjector, kLanguage, kProcessor };

// Adds keys that are neither read nor known to be harmless, as "context.key".
void NoteUnknownKeys(const JsonFields& fields, const Json& json, ConfigSection section,
                     std::vector<std::string>& unknown_keys);

// Refuses what newer files say in other words than those that are read, unless it says the same,
// and settings that this project does not have.
absl::Status CheckTopKeys(const JsonFields& fields);
absl::Status CheckVisionKeys(const JsonFields& fields);
absl::Status CheckLanguageKeys(const JsonFields& fields, const LanguageConfig& config);

}  // namespace vl2
