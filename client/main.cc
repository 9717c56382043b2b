// vl2: the command-line client. See --help.
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "client/answer_printer.h"
#include "client/arguments.h"
#include "client/box_drawing.h"
#include "client/chat_client.h"
#include "client/cluster_text.h"
#include "client/event_json.h"
#include "client/exit_code.h"
#include "client/question.h"
#include "client/terminal_text.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"
#include "runtime/rpc/termination.h"

namespace vl2::client {
namespace {

std::atomic<bool> interrupted{false};

int Fail(ExitCode code, const std::string& message) {
  std::cerr << "vl2: " << OneLine(message) << std::endl;
  return code;
}

int FailCall(const absl::Status& status, const Arguments& arguments) {
  if (interrupted) return Fail(kInterrupted, "interrupted");
  if (absl::IsDeadlineExceeded(status)) {
    return Fail(kTimedOut, Cat("not done within --timeout ", arguments.timeout_s, " seconds (",
                               Message(status), ")"));
  }
  return Fail(ExitCodeOf(status.code()), Message(status));
}

bool IsTerminal(int descriptor) {
  const char* const kind = std::getenv("TERM");
  return isatty(descriptor) != 0 && kind != nullptr && std::string(kind) != "dumb";
}

int TerminalColumns(int descriptor) {
  winsize size{};
  return ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::chrono::milliseconds Milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000) + 1);
}

absl::Status WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
  if (!file.flush()) return absl::DataLossError(Cat(path, ": cannot be written"));
  return absl::OkStatus();
}

int WriteBoxes(const AskArguments& ask, const v1::ChatRequest& request,
               const std::vector<v1::BoxGroup>& groups) {
  std::vector<const std::string*> pictures;
  for (const v1::Part& part : request.messages(request.messages_size() - 1).parts()) {
    if (part.has_image()) pictures.push_back(&part.image().data());
  }
  const int num_pictures = static_cast<int>(pictures.size());
  std::set<int> indices;  // of pictures with boxes
  for (const v1::BoxGroup& group : groups) {
    if (group.image_index() >= 0 && group.image_index() < num_pictures) {
      indices.insert(group.image_index());
    }
  }
  if (indices.empty()) return Fail(kNoBoxes, "the answer has no boxes: nothing is drawn");
  for (const int index : indices) {
    const std::string path = BoxesPath(ask.boxes, index, num_pictures);
    const auto png = DrawBoxes(*pictures[static_cast<size_t>(index)], groups, index);
    if (!png.ok()) return Fail(kFileFailed, Cat(path, ": ", Message(png.status())));
    if (const absl::Status written = WriteFile(path, *png); !written.ok()) {
      return Fail(kFileFailed, Message(written));
    }
    std::cerr << "boxes drawn: " << path << std::endl;
  }
  return kDone;
}

int Ask(const Arguments& arguments, ChatClient& client) {
  const AskArguments& ask = arguments.ask;
  std::error_code error;
  if (ask.pictures.empty() && std::filesystem::is_regular_file(ask.question, error)) {
    return Fail(kWrongUsage, ask.question + " is a file: the question comes after it");
  }
  auto request = MakeQuestion(ask, std::cin);
  if (!request.ok()) return Fail(kFileFailed, Message(request.status()));
  AnswerPrinter printer({.json = arguments.json,
                         .timings = ask.timings,
                         .out_is_terminal = isatty(STDOUT_FILENO) != 0,
                         .err_is_terminal = IsTerminal(STDERR_FILENO),
                         .terminal_columns = TerminalColumns(STDERR_FILENO)},
                        ask.samples, std::cout, std::cerr);
  absl::Status written;
  const absl::Status status =
      client.Ask(*request, Milliseconds(arguments.timeout_s), [&](const v1::ChatEvent& event) {
        written = printer.OnEvent(event);
        return written;
      });
  const absl::Status finished = printer.Finish(status);
  if (written.ok()) written = finished;
  if (!written.ok()) return Fail(kFileFailed, Message(written));
  if (!status.ok()) return FailCall(status, arguments);
  return ask.boxes.empty() ? int{kDone} : WriteBoxes(ask, *request, printer.boxes());
}

int Info(const Arguments& arguments, ChatClient& client) {
  const auto cluster = client.GetClusterInfo(Milliseconds(arguments.timeout_s));
  if (!cluster.ok()) {
    if (arguments.json) std::cout << ErrorJson(cluster.status()) << "\n";
    return FailCall(cluster.status(), arguments);
  }
  if (arguments.json) {
    std::cout << ClusterJson(*cluster) << "\n";
  } else {
    std::cout << ClusterText(arguments.server, *cluster);
  }
  if (!std::cout.flush()) return Fail(kFileFailed, "standard output cannot be written");
  return kDone;
}

int Run(const Arguments& arguments, TerminationSignal& signal) {
  constexpr size_t kMaxTlsCaBytes = size_t{1} << 20;
  // gRPC's own messages would stand between ours.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  const char* const environment_key = std::getenv("VL2_KEY");
  const std::string key =
      arguments.key.empty() && environment_key != nullptr ? environment_key : arguments.key;
  std::string tls_roots;
  if (!arguments.tls_ca.empty()) {
    auto read = ReadFile(arguments.tls_ca, kMaxTlsCaBytes);
    if (!read.ok()) return Fail(kFileFailed, "--tls_ca: " + Message(read.status()));
    tls_roots = *std::move(read);
    if (tls_roots.empty()) return Fail(kFileFailed, "--tls_ca: " + arguments.tls_ca + " is empty");
  }
  const auto client = std::make_shared<ChatClient>(arguments.server, key, tls_roots);
  // Waits for the rest of the process's life. Ends the call, whose thread then tidies up; without
  // one there is nothing to tidy up.
  std::thread([client, &signal] {
    signal.Wait();
    interrupted = true;
    if (!client->Cancel()) _exit(kInterrupted);
  }).detach();
  return arguments.command == Arguments::Command::kAsk ? Ask(arguments, *client)
                                                       : Info(arguments, *client);
}

}  // namespace
}  // namespace vl2::client

int main(int argc, char** argv) {
  using vl2::client::Arguments;
  static vl2::TerminationSignal signal;
  const char* const server = std::getenv("VL2_SERVER");
  const auto arguments = vl2::client::ParseArguments(
      std::vector<std::string>(argv + 1, argv + argc), server == nullptr ? "" : server);
  if (!arguments.ok()) {
    return vl2::client::Fail(vl2::client::kWrongUsage,
                             vl2::Message(arguments.status()) + "; see vl2 --help");
  }
  if (arguments->command == Arguments::Command::kHelp) {
    std::cout << vl2::client::HelpText();
    return vl2::client::kDone;
  }
  return vl2::client::Run(*arguments, signal);
}
