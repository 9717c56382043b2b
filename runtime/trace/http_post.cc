#include "runtime/trace/http_post.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include "absl/strings/ascii.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

using Clock = std::chrono::steady_clock;
using Deadline = std::function<Clock::time_point()>;

// How soon a deadline that has moved is noticed.
constexpr std::chrono::milliseconds kSlice{50};

absl::Status Failed(const HttpEndpoint& endpoint, std::string_view what) {
  return absl::UnavailableError(Cat(endpoint.ToString(), ": ", what));
}

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

  // False when the deadline passed first.
  bool WaitFor(short events, const Deadline& deadline) const {
    for (;;) {
      const auto left = deadline() - Clock::now();
      if (left <= Clock::duration::zero()) return false;
      const auto slice = std::min<Clock::duration>(left, kSlice);
      pollfd each = {.fd = fd_, .events = events, .revents = 0};
      const auto ms = std::chrono::ceil<std::chrono::milliseconds>(slice).count();
      if (poll(&each, 1, static_cast<int>(ms)) > 0) return true;
    }
  }

 private:
  const int fd_;
};

absl::Status Connect(const HttpEndpoint& endpoint, const addrinfo& address, const Socket& socket,
                     const Deadline& deadline) {
  if (socket.fd() < 0) return Failed(endpoint, strerror(errno));
  if (connect(socket.fd(), address.ai_addr, address.ai_addrlen) == 0) return absl::OkStatus();
  if (errno != EINPROGRESS) return Failed(endpoint, strerror(errno));
  if (!socket.WaitFor(POLLOUT, deadline)) return Failed(endpoint, "no connection in time");
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error == 0 ? absl::OkStatus() : Failed(endpoint, strerror(error));
}

absl::Status Send(const HttpEndpoint& endpoint, const Socket& socket, std::string_view bytes,
                  const Deadline& deadline) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno != EAGAIN && errno != EINTR) {
      return Failed(endpoint, strerror(errno));
    } else if (!socket.WaitFor(POLLOUT, deadline)) {
      return Failed(endpoint, "does not read in time");
    }
  }
  return absl::OkStatus();
}

// The length that a head announces; npos: up to the connection's end.
size_t ContentLength(std::string_view head) {
  const std::string lower = absl::AsciiStrToLower(std::string(head));
  constexpr std::string_view kName = "\r\ncontent-length:";
  const size_t at = lower.find(kName);
  if (at == std::string::npos) return std::string::npos;
  const char* begin = lower.c_str() + at + kName.size();
  while (*begin == ' ') ++begin;
  size_t length = 0;
  const auto parsed = std::from_chars(begin, lower.c_str() + lower.size(), length);
  return parsed.ec == std::errc() ? length : std::string::npos;
}

absl::StatusOr<HttpAnswer> Receive(const HttpEndpoint& endpoint, const Socket& socket,
                                   const Deadline& deadline) {
  std::string text;
  char block[4096];
  size_t body = std::string::npos;
  size_t length = std::string::npos;
  while (text.size() < kMaxAnswerBytes) {
    if (body == std::string::npos && text.find("\r\n\r\n") != std::string::npos) {
      body = text.find("\r\n\r\n") + 4;
      length = ContentLength(std::string_view(text).substr(0, body));
    }
    if (length != std::string::npos && text.size() - body >= length) break;
    const ssize_t n = recv(socket.fd(), block, sizeof(block), 0);
    if (n > 0) {
      text.append(block, static_cast<size_t>(n));
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      break;
    } else if (!socket.WaitFor(POLLIN, deadline)) {
      return Failed(endpoint, "no answer in time");
    }
  }
  HttpAnswer answer;
  constexpr std::string_view kBegin = "HTTP/1.";
  if (body == std::string::npos || text.compare(0, kBegin.size(), kBegin) != 0 || text[8] != ' ') {
    return Failed(endpoint, "the answer is not HTTP's");
  }
  std::from_chars(text.data() + 9, text.data() + 12, answer.status);
  answer.body = text.substr(body);
  return answer;
}

}  // namespace

std::string HttpEndpoint::ToString() const {
  const bool v6 = host.find(':') != std::string::npos;
  return v6 ? Cat("[", host, "]:", port) : Cat(host, ":", port);
}

absl::StatusOr<HttpEndpoint> ParseHttpEndpoint(std::string_view address, int default_port) {
  const absl::Status bad = InvalidArgument("\"", address, "\" is not http://HOST[:PORT][/PATH]");
  constexpr std::string_view kScheme = "http://";
  if (address.substr(0, kScheme.size()) != kScheme) return bad;
  for (const char c : address) {
    if (c <= ' ' || c >= 0x7f || c == '@' || c == '?' || c == '#') return bad;
  }
  std::string_view rest = address.substr(kScheme.size());
  HttpEndpoint endpoint;
  endpoint.port = default_port;
  const size_t slash = std::min(rest.find('/'), rest.size());
  endpoint.path = std::string(rest.substr(slash));
  while (!endpoint.path.empty() && endpoint.path.back() == '/') endpoint.path.pop_back();
  rest = rest.substr(0, slash);
  size_t colon = rest.find(':');
  if (!rest.empty() && rest.front() == '[') {
    const size_t close = rest.find(']');
    if (close == std::string_view::npos) return bad;
    endpoint.host = std::string(rest.substr(1, close - 1));
    colon = close + 1;
    if (colon < rest.size() && rest[colon] != ':') return bad;
    if (colon == rest.size()) colon = std::string_view::npos;
  } else {
    endpoint.host = std::string(rest.substr(0, colon));
  }
  if (colon != std::string_view::npos) {
    const std::string_view port = rest.substr(colon + 1);
    const auto parsed = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
    if (parsed.ec != std::errc() || parsed.ptr != port.data() + port.size()) return bad;
  }
  if (endpoint.host.empty() || endpoint.port < 1 || endpoint.port > 65535) return bad;
  return endpoint;
}

absl::StatusOr<HttpAnswer> HttpPost(const HttpEndpoint& endpoint, std::string_view path,
                                    std::string_view body, const Deadline& deadline) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* addresses = nullptr;
  const int error =
      getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &addresses);
  if (error != 0) return Failed(endpoint, gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(addresses, &freeaddrinfo);
  const std::string head =
      Cat("POST ", endpoint.path, path, " HTTP/1.1\r\nHost: ", endpoint.ToString(),
          "\r\nContent-Type: application/json\r\n", "Content-Length: ", body.size(),
          "\r\nConnection: close\r\n\r\n");
  absl::Status status = Failed(endpoint, "the name has no address");
  for (const addrinfo* each = addresses; each != nullptr; each = each->ai_next) {
    const Socket connection(
        socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, each->ai_protocol));
    status = Connect(endpoint, *each, connection, deadline);
    if (!status.ok()) continue;
    VL2_RETURN_IF_ERROR(Send(endpoint, connection, head, deadline));
    // A server that has heard enough may answer before it has read all.
    const absl::Status sent = Send(endpoint, connection, body, deadline);
    auto answer = Receive(endpoint, connection, deadline);
    return answer.ok() || sent.ok() ? answer : sent;
  }
  return status;
}

}  // namespace vl2
