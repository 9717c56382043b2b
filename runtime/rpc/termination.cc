#include "runtime/rpc/termination.h"

#include <signal.h>

#include "runtime/base/check.h"

namespace vl2 {
namespace {

sigset_t Signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

}  // namespace

TerminationSignal::TerminationSignal() {
  const sigset_t signals = Signals();
  VL2_CHECK(pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0);
  signal(SIGPIPE, SIG_IGN);
}

int TerminationSignal::Wait() {
  const sigset_t signals = Signals();
  int number = 0;
  VL2_CHECK(sigwait(&signals, &number) == 0);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  return number;
}

}  // namespace vl2
