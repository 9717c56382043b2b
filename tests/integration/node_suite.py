"""Runs a folder of Node.js tests with its packages from npm; skipped, loudly, without them."""
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager

from cluster import REPOSITORY

SKIPPED = 77


def missing(bin_folder):
    """What is not there of the services and Node.js."""
    names = [name for name in ("lm_service", "vision_service", "gateway")
             if not os.path.exists(os.path.join(bin_folder, name))]
    return names + [name for name in ("node", "npm") if shutil.which(name) is None]


@contextmanager
def installed(folder_name, script, packages):
    """A copy of tests/integration/FOLDER with its packages; None when they cannot be installed."""
    source = os.path.join(REPOSITORY, "tests", "integration", folder_name)
    with tempfile.TemporaryDirectory(prefix="vl2-" + folder_name) as folder:
        for name in ("package.json", "package-lock.json", script):
            shutil.copy(os.path.join(source, name), folder)
        result = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=folder)
        if result.returncode != 0:
            print("SKIPPED: npm ci cannot install %s (no network?)" % packages)
        yield folder if result.returncode == 0 else None
