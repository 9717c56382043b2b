"""deploy/check alerts: each alert fires in a run with its fault, and none in a run without one.

The pods, network and Prometheus are those of deploy/check topology; every duration of rules.yaml is divided by
60, so that half an hour is half a minute. Takes about seven minutes.
"""
import argparse
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "topology")]
import network  # noqa: E402
import run as run_module  # noqa: E402
from manifests import manifests  # noqa: E402


def parse():
    checkpoints = os.path.join(REPOSITORY, "tests", "golden", "data", "checkpoints")
    parser = argparse.ArgumentParser(prog="deploy/check alerts", description=__doc__.split("\n\n")[0])
    parser.add_argument("--bin", default=os.path.join(REPOSITORY, "build", "release", "bin"),
                        help="folder of the services")
    parser.add_argument("--model", default=os.path.join(checkpoints, "tiny_mha"))
    parser.add_argument("--next_model", default=os.path.join(checkpoints, "small_mla"),
                        help="what stands beside it for TwoPools")
    parser.add_argument("--quiet_s", type=float, default=65, help="length of the run without a fault, seconds")
    parser.add_argument("--only", default="", help="parts of faults' names, with commas between; others are not made")
    parser.add_argument("--keep_logs", action="store_true")
    return parser.parse_args()


def main():
    arguments = parse()
    network.enter()
    documents, labels = manifests("")
    folder = tempfile.mkdtemp(prefix="vl2-alerts-")
    fine = run_module.Run(arguments, folder, documents, labels).run()
    if fine and not arguments.keep_logs:
        subprocess.run(["rm", "-rf", folder], check=False)
    else:
        print("logs in " + folder)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
