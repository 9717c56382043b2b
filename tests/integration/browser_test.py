"""The web page in a real browser (Chromium through playwright-core from npm).

Usage: browser_test.py BIN_FOLDER [SCREENSHOTS_FOLDER]. Skipped, loudly, without them.
"""
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import boxes_checkpoint  # noqa: E402
import node_suite  # noqa: E402
from cluster import CHECKPOINT, DATA, REPOSITORY, Cluster  # noqa: E402

BIN = sys.argv[1]
SCREENSHOTS = sys.argv[2] if len(sys.argv) > 2 else None


def main():
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    missing = node_suite.missing(BIN) + ([] if browser else ["chromium"])
    if missing:
        print("SKIPPED: not there: " + ", ".join(missing))
        return node_suite.SKIPPED
    with node_suite.installed("browser", "page_test.mjs", "playwright-core") as folder:
        if folder is None:
            return node_suite.SKIPPED
        checkpoint = os.path.join(folder, "checkpoint")
        os.mkdir(checkpoint)
        bias = boxes_checkpoint.make(CHECKPOINT, checkpoint)
        cluster = Cluster(BIN, model=checkpoint)
        settings = {
            "url": "http://%s/" % cluster.http,
            "metrics": "http://%s/metrics" % cluster.metrics,
            "browser": browser,
            "picture": os.path.join(DATA, "images", "scene_640x480.png"),
            "tiff": os.path.join(REPOSITORY, "tests", "vision_service", "image", "data", "odd",
                                 "orientation6.tif"),
            "boxes": {"label": boxes_checkpoint.LABEL, "boxes": boxes_checkpoint.BOXES,
                      "request": {**boxes_checkpoint.SAMPLING, "logit_bias": bias}},
            "screenshots": SCREENSHOTS,
        }
        try:
            return subprocess.run(["node", "page_test.mjs", json.dumps(settings)], cwd=folder,
                                  timeout=500).returncode
        finally:
            cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
