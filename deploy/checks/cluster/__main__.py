"""deploy/check cluster: the manifests on a real API server, with its controllers, scheduler and autoscaler.

etcd, kube-apiserver, kube-controller-manager, kube-scheduler and prometheus-adapter are built from their Go modules
into the folder of the deploy tools (first time: 10 to 30 minutes), and run in namespaces of their own. Nodes are
objects that this check keeps ready; their pods run nothing. Takes about six minutes.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "topology"), os.path.join(HERE, "..", "quick")]
import api as api_module  # noqa: E402
import applying  # noqa: E402
import autoscaling  # noqa: E402
import control_plane  # noqa: E402
import eviction  # noqa: E402
import network  # noqa: E402
import nodes as nodes_module  # noqa: E402
import placement  # noqa: E402
import programs  # noqa: E402

NOT_CHECKED = (
    "no kubelet, container runtime or network plugin (--node of the design): probes, preStop, images and "
    "NetworkPolicies are not exercised here (topology and images do)",
    "the autoscalers' series come from an exporter whose numbers are set, not from services under load; the gateways' "
    "share of CPU (no metrics server), and so their fall; the windows of 300 s to their end",
    "KEDA, Prometheus Operator, cert-manager, Gateway API: their kinds are validated, their controllers do not run",
)


def parse():
    parser = argparse.ArgumentParser(prog="deploy/check cluster", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="parts whose name has this in it: manifests, placement, "
                                                   "eviction, autoscaling")
    parser.add_argument("--keep_logs", action="store_true")
    return parser.parse_args()


PARTS = (("manifests", applying.check), ("placement", placement.check), ("eviction", eviction.check),
         ("autoscaling", autoscaling.check))


class Cluster:
    """What the parts work on."""

    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.control_plane = control_plane.ControlPlane(folder)
        self.api = api_module.Api(self.control_plane.address, self.control_plane.certificates)
        self.nodes = None
        self.notes = []

    def start(self):
        self.control_plane.start(self.api)
        self.nodes = nodes_module.Nodes(self.api)

    def stop(self):
        if self.nodes:
            self.nodes.stop()
        self.control_plane.stop()

    def wait(self, condition, seconds, what):
        """The condition's first true value."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise AssertionError("after %g s: %s" % (seconds, what() if callable(what) else what))
            time.sleep(0.2)
        return value


def run(cluster):
    """Problems of all parts."""
    problems = []
    for name, part in PARTS:
        if cluster.arguments.only not in name:
            continue
        begin = time.monotonic()
        try:
            found = part(cluster)
        except (AssertionError, api_module.Refused) as problem:
            found = [str(problem)]
        print("%s %-11s %5.1f s" % ("FAILED" if found else "ok    ", name, time.monotonic() - begin), flush=True)
        for note in cluster.notes:
            print("    " + note)
        for problem in found:
            print("    FAILED " + problem)
        cluster.notes.clear()
        problems += found
    return problems


def main():
    arguments = parse()
    if not os.environ.get(network.ENTERED):
        programs.install()
    network.enter()
    folder = tempfile.mkdtemp(prefix="vl2-cluster-")
    fine = False
    cluster = None
    try:
        network.build(folder)
        cluster = Cluster(arguments, folder)
        begin = time.monotonic()
        cluster.start()
        print("ok     %-11s %5.1f s" % ("start", time.monotonic() - begin), flush=True)
        fine = not run(cluster)
    finally:
        if cluster:
            cluster.stop()
        if fine and not arguments.keep_logs:
            subprocess.run(["rm", "-rf", folder], check=False)
        else:
            print("logs in " + folder)
    for what in NOT_CHECKED:
        print("not checked: " + what)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
