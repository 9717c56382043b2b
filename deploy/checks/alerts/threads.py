"""Stops single threads of a process: what a stalled engine is, while its metrics still answer.

Unlike a cgroup's quota and SIGSTOP, that leaves the threads alone that tell the metrics.
"""
import ctypes
import os
import threading
import time

SEIZE, INTERRUPT, CONTINUE, DETACH = 0x4206, 0x4207, 7, 17
WALL = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace of thread %d: %s" % (thread, os.strerror(ctypes.get_errno())))


def processor_times(process):
    """Ticks that each thread has computed."""
    found = {}
    for thread in os.listdir("/proc/%d/task" % process):
        with open("/proc/%d/task/%s/stat" % (process, thread)) as file:
            fields = file.read().rpartition(")")[2].split()
        found[int(thread)] = int(fields[11]) + int(fields[12])
    return found


def busiest(process, seconds):
    """The thread that computes most in this time."""
    before = processor_times(process)
    time.sleep(seconds)
    after = processor_times(process)
    return max(after, key=lambda thread: after[thread] - before.get(thread, 0))


class Slowed:
    """While it lasts, a thread of a process computes for `share` of the time; 0: never. The others go on."""

    PERIOD_S = 0.2

    def __init__(self, thread, share):
        self.thread, self.share = thread, share
        self.ending = threading.Event()
        # ptrace's requests must all come from one thread.
        self.tracer = threading.Thread(target=self.trace, daemon=True)

    def __enter__(self):
        self.tracer.start()

    def __exit__(self, *_):
        self.ending.set()
        self.tracer.join()

    def trace(self):
        try:
            ptrace(SEIZE, self.thread)
            while True:
                ptrace(INTERRUPT, self.thread)
                os.waitpid(self.thread, WALL)
                if self.ending.wait(self.PERIOD_S * (1 - self.share) if self.share else None):
                    break
                ptrace(CONTINUE, self.thread)
                time.sleep(self.PERIOD_S * self.share)
            ptrace(DETACH, self.thread)
        except OSError:
            pass  # its process is gone
