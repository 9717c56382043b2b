"""scripts/serve: what it says when a service ends. Usage: serve_script_test.py BIN_FOLDER"""
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import CHECKPOINT, REPOSITORY  # noqa: E402

BIN = os.path.abspath(sys.argv.pop(1))
if not all(os.path.exists(os.path.join(BIN, name)) for name in ("lm_service", "vision_service", "gateway")):
    print("SKIPPED: the services are not built")
    sys.exit(77)


class ServeScriptTest(unittest.TestCase):
    def start(self, model=CHECKPOINT):
        process = subprocess.Popen(
            [os.path.join(REPOSITORY, "scripts", "serve"), "--model", model, "--port", "0"],
            env={**os.environ, "VL2_BIN": BIN}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.kill)
        # A script that hangs fails here, not at the limit of the whole test.
        timer = threading.Timer(120, process.kill)
        timer.start()
        self.addCleanup(timer.cancel)
        return process

    def children(self, process):
        """{name: process id} of the services."""
        found = {}
        with open("/proc/%d/task/%d/children" % (process.pid, process.pid)) as children:
            for pid in children.read().split():
                with open("/proc/%s/comm" % pid) as name:
                    found[name.read().strip()] = int(pid)
        return found

    def test_a_crash_is_told(self):
        for name, how in (("lm_service", signal.SIGSEGV), ("vision_service", signal.SIGKILL),
                          ("gateway", signal.SIGABRT)):
            process = self.start()
            logs = process.stdout.readline().split()[-1]
            self.addCleanup(shutil.rmtree, logs, True)
            while not process.stdout.readline().startswith("ready"):
                self.assertIsNone(process.poll())
            services = self.children(process)
            os.kill(services[name], how)
            said = process.stderr.read()
            self.assertEqual(process.wait(60), 1)
            self.assertRegex(said, re.compile(
                r"serve: %s \(process %d\) ended by signal %d \(%s\)" % (name, services[name], how, how.name)))
            log = os.path.join(logs, name + ".log")
            self.assertIn(log, said)
            self.assertTrue(os.path.getsize(log) > 0)
            for pid in services.values():
                self.assertFalse(os.path.exists("/proc/%d" % pid), "the others are stopped")

    def test_a_service_that_does_not_start_is_told(self):
        process = self.start(os.path.dirname(CHECKPOINT))
        logs = process.stdout.readline().split()[-1]
        self.addCleanup(shutil.rmtree, logs, True)
        said = process.stderr.read()
        self.assertEqual(process.wait(60), 1)
        self.assertIn("lm_service", said)
        self.assertIn("with exit status 1", said)
        self.assertIn("config.json", said)

    def test_stopping_leaves_nothing(self):
        process = self.start()
        logs = process.stdout.readline().split()[-1]
        while not process.stdout.readline().startswith("ready"):
            self.assertIsNone(process.poll())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(60), 0)
        self.assertFalse(os.path.exists(logs))


if __name__ == "__main__":
    unittest.main(verbosity=2)
