"""Runs the official openai client (npm) against a cluster. Usage: openai_test.py BIN_FOLDER"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import node_suite  # noqa: E402
from cluster import DATA, Cluster  # noqa: E402

BIN = sys.argv[1]


def main():
    missing = node_suite.missing(BIN)
    if missing:
        print("SKIPPED: not there: " + ", ".join(missing))
        return node_suite.SKIPPED
    with node_suite.installed("openai", "client_test.mjs", "the client") as folder:
        if folder is None:
            return node_suite.SKIPPED
        cluster = Cluster(BIN)
        try:
            return subprocess.run(
                ["node", "client_test.mjs", "http://%s/v1" % cluster.http, DATA], cwd=folder,
                timeout=300).returncode
        finally:
            cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
