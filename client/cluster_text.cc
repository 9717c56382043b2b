#include "client/cluster_text.h"

#include <map>
#include <sstream>
#include <string_view>

#include "client/terminal_text.h"
#include "runtime/base/status.h"

namespace vl2::client {
namespace {

// "name value, name value", by name, the unit being the name's last word; bytes as MiB.
template <typename Map>
std::string Counts(const Map& counts) {
  std::string text;
  for (const auto& [name, value] : std::map<std::string, int64_t>(counts.begin(), counts.end())) {
    std::string words = OneLine(name);
    for (char& c : words) c = c == '_' ? ' ' : c;
    if (!text.empty()) text += ", ";
    if (words.ends_with(" bytes")) {
      words.resize(words.size() - std::string_view(" bytes").size());
      text += Cat(words, " ", value >> 20, " MiB");
    } else {
      text += Cat(words, " ", value);
    }
  }
  return text;
}

void ShowReplica(const v1::ReplicaInfo& replica, std::ostringstream& out) {
  out << "  " << OneLine(replica.address()) << "  "
      << (replica.healthy() ? "answers" : "does not answer: " + OneLine(replica.failure()));
  if (replica.has_info()) {
    const v1::ModelInfo& info = replica.info();
    out << "  (" << OneLine(info.weight_dtype()) << " weights, " << OneLine(info.device()) << ")";
  }
  out << "\n";
  if (!replica.has_info() || !replica.healthy()) return;
  out << "    load    calls from this gateway " << replica.outstanding_calls();
  if (const std::string load = Counts(replica.info().load()); !load.empty()) out << ", " << load;
  out << "\n    limits  " << Counts(replica.info().limits()) << "\n";
}

}  // namespace

std::string ClusterText(const std::string& server, const v1::ClusterInfo& cluster) {
  std::ostringstream out;
  out << "gateway " << server << ": "
      << (cluster.ready() ? "ready" : "not ready: " + OneLine(cluster.not_ready_reason())) << "\n"
      << "  limits  " << Counts(cluster.limits()) << "\n"
      << "model " << OneLine(cluster.model_name()) << "\n";
  if (!cluster.model_id().empty()) {
    out << "  id      " << OneLine(cluster.model_id()) << "\n"
        << "  context " << cluster.max_context_tokens() << " tokens\n";
  }
  out << "language services: " << cluster.language_size() << "\n";
  for (const v1::ReplicaInfo& replica : cluster.language()) ShowReplica(replica, out);
  out << "vision services: " << cluster.vision_size() << "\n";
  for (const v1::ReplicaInfo& replica : cluster.vision()) ShowReplica(replica, out);
  return std::move(out).str();
}

}  // namespace vl2::client
