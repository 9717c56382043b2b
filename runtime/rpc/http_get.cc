#include "runtime/rpc/http_get.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/base/status.h"
#include "runtime/rpc/host_port.h"

namespace vl2 {
namespace {

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

}  // namespace

absl::StatusOr<std::string> HttpGet(const std::string& host_port, const std::string& path) {
  VL2_ASSIGN_OR_RETURN(HostPort where, ParseHostPort(host_port));
  if (where.host == "0.0.0.0") where.host = "127.0.0.1";
  if (where.host == "::") where.host = "::1";
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(where.host.c_str(), std::to_string(where.port).c_str(), &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(Cat("cannot resolve ", where.host, ": ", gai_strerror(error)));
  }
  const Socket connection(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval timeout = {.tv_sec = kTimeoutSeconds, .tv_usec = 0};
  setsockopt(connection.fd(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  setsockopt(connection.fd(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
  const bool connected = connect(connection.fd(), found->ai_addr, found->ai_addrlen) == 0;
  freeaddrinfo(found);
  const std::string request =
      Cat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  if (!connected || send(connection.fd(), request.data(), request.size(), MSG_NOSIGNAL) < 0) {
    return absl::UnavailableError(Cat("cannot reach ", where.ToString(), ": ", strerror(errno)));
  }
  std::string answer;
  constexpr size_t kMaxAnswerBytes = size_t{1} << 20;
  char block[4096];
  for (ssize_t n = 0; answer.size() < kMaxAnswerBytes &&
                      (n = recv(connection.fd(), block, sizeof(block), 0)) > 0;) {
    answer.append(block, static_cast<size_t>(n));
  }
  const size_t end_of_head = answer.find("\r\n\r\n");
  if (end_of_head == std::string::npos) {
    return absl::UnavailableError(Cat(where.ToString(), " gives no answer"));
  }
  const std::string body = answer.substr(end_of_head + 4);
  if (answer.rfind("HTTP/1.1 200 ", 0) == 0) return body;
  return absl::UnavailableError(Cat(answer.substr(0, answer.find("\r\n")), ": ", body));
}

}  // namespace vl2
