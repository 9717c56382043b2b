"""Runs the official openai client (npm) against a cluster. Usage: openai_test.py BIN_FOLDER"""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import DATA, REPOSITORY, Cluster  # noqa: E402

BIN = sys.argv[1]


def main():
    missing = [name for name in ("lm_service", "vision_service", "gateway")
               if not os.path.exists(os.path.join(BIN, name))]
    missing += [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        print("SKIPPED: not there: " + ", ".join(missing))
        return 77
    source = os.path.join(REPOSITORY, "tests", "integration", "openai")
    with tempfile.TemporaryDirectory(prefix="vl2-openai") as folder:
        for name in ("package.json", "package-lock.json", "client_test.mjs"):
            shutil.copy(os.path.join(source, name), folder)
        installed = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=folder)
        if installed.returncode != 0:
            print("SKIPPED: npm ci cannot install the client (no network?)")
            return 77
        cluster = Cluster(BIN)
        try:
            return subprocess.run(
                ["node", "client_test.mjs", "http://%s/v1" % cluster.http, DATA], cwd=folder,
                timeout=300).returncode
        finally:
            cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
