// PublicError: what a client may know of an error.
//
// Errors of the services behind the gateway name addresses and replicas. Where keys are asked for,
// only an admin's key reads them; others read what the reason means (error_details.h), and the log
// has the text beside the request's id. Errors that a client can do something about, such as a bad
// field or a full server, are told to everybody.
//
// Pure but for the log.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "gateway/session/api_keys.h"

namespace vl2::gateway {

// `key`: of the request; nullptr: none. `keys_asked_for`: the server has keys at all.
bool SeesReasons(bool keys_asked_for, const ApiKey* key);

absl::Status PublicError(const absl::Status& status, bool sees_reasons,
                         const std::string& request_id);

}  // namespace vl2::gateway
