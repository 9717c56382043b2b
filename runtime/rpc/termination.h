// TerminationSignal: waits for SIGTERM or SIGINT in an ordinary thread, where locks and logs are
// allowed.
//
// Made first thing in main: threads started later inherit the blocked signals, so that none of them
// is interrupted. Threading: one thread makes it and waits.
#pragma once

namespace vl2 {

class TerminationSignal {
 public:
  // Blocks SIGTERM and SIGINT in this thread and those it starts; ignores SIGPIPE.
  TerminationSignal();

  // Returns the signal's number. From then on another one ends the process at once, so that an
  // impatient user can cut a long drain short.
  int Wait();
};

}  // namespace vl2
