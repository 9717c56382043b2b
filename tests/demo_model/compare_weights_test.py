#!/usr/bin/env python3
"""What the demo model loses with weights as integers, by tools/compare_weights: the divergence of each
token of the right answers stays within what docs/quantization.md promises. And the tool's errors.

Usage: compare_weights_test.py BIN [unittest flags]
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

BIN = sys.argv.pop(1)
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODEL = os.path.join(os.path.dirname(TESTS), "models", "demo")
DATA = os.path.join(TESTS, "demo_model", "data")
LIMITS = {"int8": (0.002, 0.01), "int4": (0.01, 0.02)}  # mean KL; mean change of log-probability


def compare(*flags):
    return subprocess.run([os.path.join(BIN, "compare_weights"), "--model=" + MODEL, *flags],
                          capture_output=True, text=True, timeout=500, check=False)


class CompareWeightsTest(unittest.TestCase):
    def questions(self, text):
        file = tempfile.NamedTemporaryFile("w", suffix=".jsonl")
        self.addCleanup(file.close)
        file.write(text)
        file.flush()
        return "--questions=" + file.name

    def test_what_is_lost_stays_small(self):
        with open(os.path.join(DATA, "questions.json")) as file:
            questions = json.load(file)["questions"]
        lines = [json.dumps({"prompt": each["question"], "answer": each["answer"],
                             "images": [os.path.join(DATA, each["picture"])]}) for each in questions]
        run = compare(self.questions("\n".join(lines)))
        self.assertEqual(run.returncode, 0, run.stderr)
        for name, (most_kl, most_change) in LIMITS.items():
            part = run.stdout[run.stdout.index(name + ":"):]
            self.assertIn("%d questions" % len(questions), part)
            kl = float(re.search(r"mean ([\d.]+)", part)[1])
            change = float(re.search(r"answers' tokens: ([-+\d.]+)", part)[1])
            self.assertLessEqual(kl, most_kl, name)
            self.assertLessEqual(abs(change), most_change, name)
            self.assertGreater(kl, 0, "weights as integers are others")

    def test_the_weights_as_stored_lose_nothing(self):
        run = compare("--prompt=Hello", "--tokens=4", "--weights=bf16")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("mean 0.00000, largest 0.0000", run.stdout)
        self.assertIn("same: 100.0%", run.stdout)

    def test_too_much_fails(self):
        run = compare("--prompt=Hello", "--tokens=4", "--weights=int4", "--max_kl=1e-12")
        self.assertEqual(run.returncode, 1)
        self.assertIn("is above --max_kl", run.stderr)

    def test_errors(self):
        for flags, text in [((), "--questions or --prompt is needed"),
                            (("--prompt=a", "--weights=int5"), "\"int5\" is not one of"),
                            (("--prompt=a", "--tokens=0"), "--tokens 0 must be at least 1"),
                            (("--questions=/no/such",), "/no/such: cannot be read"),
                            ((self.questions("{}\n"),), "line 1: expected an object with a"),
                            ((self.questions("[" * 10 + "\n"),), "line 1: expected an object with a"),
                            ((self.questions('{"prompt":"a","images":[3]}\n'),), "names of files"),
                            ((self.questions('{"prompt":"a","answer":3}\n'),), "is no string"),
                            (("--prompt=a", "--image=/no/such.png"), "/no/such.png")]:
            run = compare(*flags)
            self.assertEqual(run.returncode, 1, flags)
            self.assertIn(text, run.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv, verbosity=2)
