// fingerprint: writes vl2_fingerprint.json into a checkpoint: a digest of every tensor. With it the
// model id covers every byte of the weights and still costs under a second at start.
#include <fstream>
#include <iostream>
#include <string>

#include "runtime/base/json.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/manifest.h"

namespace vl2 {
namespace {

absl::Status Run(const std::string& dir) {
  VL2_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(dir));
  Json digests = Json::object();
  for (const TensorSpec& spec : ExpectedTensors(checkpoint->config())) {
    digests[spec.name] = TensorDigest(checkpoint->View(spec.name));
    checkpoint->Release(spec.name);
  }
  const std::string path = dir + "/" + kFingerprintFile;
  std::ofstream file(path);
  file << digests.dump(1) << "\n";
  file.close();
  if (!file) return absl::PermissionDeniedError(Cat(path, ": cannot be written"));
  VL2_ASSIGN_OR_RETURN(const std::string id, checkpoint->ModelId());
  std::cout << digests.size() << " tensors, model id " << id << "\n";
  return absl::OkStatus();
}

}  // namespace
}  // namespace vl2

int main(int argc, char** argv) {
  if (argc != 2 || std::string_view(argv[1]).starts_with("-")) {
    std::cerr << "usage: fingerprint DIR\nWrites DIR/" << vl2::kFingerprintFile << ".\n";
    return 2;
  }
  const absl::Status status = vl2::Run(argv[1]);
  if (!status.ok()) {
    std::cerr << "fingerprint: " << vl2::Message(status) << "\n";
    return 1;
  }
  return 0;
}
