"""deploy/check topology: the three services as pods of a cluster, while clients ask.

Each pod is a process in a network namespace of its own, with packet rules made from the
NetworkPolicies, real DNS, and the steps of a rollout and a deletion. Needs iproute2, nftables,
dnsmasq, python3-grpcio and python3-yaml, and the built services; no container, no cluster.
"""
import argparse
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, HERE)
import network  # noqa: E402
import scenario  # noqa: E402
from manifests import manifests  # noqa: E402


def parse():
    checkpoints = os.path.join(REPOSITORY, "tests", "golden", "data", "checkpoints")
    parser = argparse.ArgumentParser(prog="deploy/check topology", description=__doc__.split("\n\n")[0])
    parser.add_argument("--bin", default=os.path.join(REPOSITORY, "build", "release", "bin"),
                        help="folder of the services")
    parser.add_argument("--model", default=os.path.join(checkpoints, "tiny_mha"))
    parser.add_argument("--next_model", default=os.path.join(checkpoints, "small_mla"),
                        help="what is rolled out in its place")
    parser.add_argument("--clients", type=int, default=5, help="that ask one after another")
    parser.add_argument("--only", default="", help="events whose name has this in it")
    parser.add_argument("--without", default="", choices=["", *scenario.POINTS],
                        help="with this point taken away, on which the check must fail")
    parser.add_argument("--tls", action="store_true",
                        help="with certificates between the services, which are rotated; strangers are refused")
    parser.add_argument("--previous_bin", default="",
                        help="folder of the services as they were before: rolls each service alone to them and "
                             "back, 0 failed; or for --without")
    parser.add_argument("--manifests", default="", help="rendered objects; else those of deploy/kubernetes")
    parser.add_argument("--draw", metavar="PNG", default="", help="the dashboard's panels as a picture")
    parser.add_argument("--keep_logs", action="store_true")
    arguments = parser.parse_args()
    if arguments.without:
        arguments.only = arguments.only or scenario.EVENTS_OF[arguments.without]
        arguments.tls = arguments.tls or arguments.without == "rotation"
        if scenario.WITHOUT[arguments.without][1] is scenario.PREVIOUS and not arguments.previous_bin:
            parser.error("--without %s needs --previous_bin" % arguments.without)
    return arguments


def main():
    arguments = parse()
    network.enter()
    documents, labels = manifests(arguments.manifests)
    folder = tempfile.mkdtemp(prefix="vl2-topology-")
    fine = scenario.Scenario(arguments, folder, documents, labels).run()
    if fine and not arguments.keep_logs:
        subprocess.run(["rm", "-rf", folder], check=False)
    else:
        print("logs in " + folder)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
