"""The run without a fault, then one fault after another, and what each makes fire."""
import contextlib
import os
import signal
import time

import faults
import feeder
import network
import scaled
import scenario
import tls
from watch import OBSERVE, Prometheus

# What a fault may take beside its own time: to be made and to be healed.
STEP_S = 100


@contextlib.contextmanager
def within(seconds):
    """Whatever waits longer is interrupted, and then each further wait, so that nothing hangs."""
    def interrupt(*_):
        raise TimeoutError("not made and healed within %g s" % seconds)
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, 10)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Run(scenario.Scenario):
    """Rows of the table: (alert, severity, fault, seconds until it fired or None)."""

    def __init__(self, arguments, folder, documents, labels):
        with open(os.path.join(OBSERVE, "rules.yaml")) as file:
            self.rules, self.alerts = scaled.rules(file.read())
        arguments.tls, arguments.without, arguments.previous_bin = True, "", ""
        arguments.clients = 3
        self.rows, self.problems = [], []
        super().__init__(arguments, folder, documents, labels)

    def make_certificates(self):
        """Longer than a week, which is what CertificateExpires is about."""
        return tls.Certificates(self.folder, days=30)

    def make_prometheus(self):
        self.feeder = feeder.Feeder(network.NODE)
        path = os.path.join(self.folder, "rules.yaml")
        with open(path, "w") as file:
            file.write(self.rules)
        return Prometheus(self.folder, path, "%dms" % (15000 // scaled.FACTOR), [self.feeder.target])

    def command(self, component, model, previous=False, more=()):
        # One thread computes, so that one can be slowed.
        own = {"language": ["--threads=1", "--slot_wait_timeout_ms=110000", "--cache_bytes=%d" % (256 << 20)],
               "vision": ["--threads=1", "--cache_bytes=0", "--tile_cache_bytes=0", "--max_batch_tiles=4"],
               "gateway": ["--replica_wait_ms=500"]}[component]
        return [*super().command(component, model, previous), *own, *more]

    def prometheus_pod(self):
        return next(each for each in self.cluster.foreign if each.name == "prometheus")

    def create_with(self, component, *more):
        """A pod with these flags besides the usual ones, ready."""
        pod = self.cluster.create(component, self.model, self.command(component, self.model, more=more))
        self.cluster.wait_ready([pod])
        return pod

    def wait_firing(self, expected, seconds):
        """{alert: seconds until it fired}, of those that did."""
        begin, fired = time.monotonic(), {}
        while len(fired) < len(expected) and time.monotonic() - begin < seconds:
            for alert in self.prometheus.firing() & set(expected):
                fired.setdefault(alert, time.monotonic() - begin)
            time.sleep(0.2)
        return fired

    def wait_calm(self, expected, seconds=90):
        """Nothing of what the next fault must make fire may fire before."""
        self.cluster.wait(lambda: not self.prometheus.firing() & set(expected), seconds,
                          lambda: "%s fires before its fault" % sorted(self.prometheus.firing() & set(expected)))

    def quiet(self):
        """Nothing fires while nothing is wrong."""
        fired, deadline = set(), time.monotonic() + self.arguments.quiet_s
        while time.monotonic() < deadline:
            fired |= self.prometheus.firing()
            time.sleep(0.2)
        failed = self.load.failed()
        print("%-34s %5.1f s  %d requests, %d failed" % (
            "without a fault", self.arguments.quiet_s, len(self.load.results), len(failed)), flush=True)
        for alert in sorted(fired):
            self.problems.append("%s (%s) fired without a fault" % alert)
        if failed:
            self.problems.append("without a fault a request failed: %s" % failed[0]["error"])

    def fault(self, fault):
        begin, fired, problem = time.monotonic(), {}, ""
        try:
            self.wait_calm(fault.alerts)
            with within(fault.seconds + STEP_S), fault.made(self):
                fired = self.wait_firing(fault.alerts, fault.seconds)
        except (AssertionError, OSError) as error:
            problem = str(error)
            self.problems.append("%s: %s" % (fault.name, problem))
        print("%-34s %5.1f s  %d of %d fired%s" % (fault.name, time.monotonic() - begin, len(fired),
                                                   len(fault.alerts), problem and "; " + problem), flush=True)
        self.rows += [(*alert, fault.name, fired.get(alert)) for alert in fault.alerts]

    def run(self):
        try:
            self.start()
            self.quiet()
            for fault in faults.FAULTS:
                if any(part in fault.name for part in self.arguments.only.split(",")):
                    self.fault(fault)
        except AssertionError as problem:
            self.problems.append(str(problem))
        finally:
            self.load.process.kill()
            self.load.thread.join()
            self.prometheus.stop()
            self.feeder.stop()
            self.cluster.stop()
            self.names.stop()
            self.cgroups.remove()
        return self.report()

    def report(self):
        print("\n%-17s %-7s %-34s %s" % ("alert", "", "fault", "fired after, windows and `for` by 1/60"))
        for alert, severity, fault, seconds in self.rows:
            print("%-17s %-7s %-34s %s" % (alert, severity, fault, "NEVER" if seconds is None else "%.1f s" % seconds))
            if seconds is None:
                self.problems.append("%s (%s) did not fire: %s" % (alert, severity, fault))
        for alert in self.alerts:
            if not self.arguments.only and alert not in [row[:2] for row in self.rows]:
                self.problems.append("no fault is there for %s (%s)" % alert)
        print("not checked: AtMaxReplicas has kube-state-metrics' series from this check, not from its exporter; "
              "thresholds are not scaled, nor the services' own intervals")
        for problem in self.problems:
            print("FAILED " + problem)
        if not self.problems:
            print("ok     each alert fired in the run with its fault, none in the run without")
        return not self.problems
