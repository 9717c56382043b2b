"""Bodies of JSON that ask for much: each shape is answered or refused within 2 s of the gateway's
processor time and 256 MiB beside the body itself, memory comes back, and another client is answered
within 2 s meanwhile.

Usage: json_cost_test.py BIN_FOLDER [unittest flags]
"""
import base64
import json
import os
import random
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, run_all  # noqa: E402
from process_cost import Cost  # noqa: E402

BIN = sys.argv.pop(1)
for name in ("lm_service", "vision_service", "gateway"):
    if not os.path.exists(os.path.join(BIN, name)):
        print("SKIPPED: %s is not built" % name)
        sys.exit(77)

BYTES = 63 << 20
MAX_CPU_SECONDS = 2
MAX_BYTES = 256 << 20
MESSAGE = b'"messages":[{"role":"user","content":"Hi"}],"max_tokens":1'


def filled(begin, item, end, count=BYTES):
    return begin + item * ((count - len(begin) - len(end)) // len(item)) + end


def ask(content, **more):
    return json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": 1, **more}).encode()


def shapes():
    yield "empty arrays", filled(b"{" + MESSAGE + b',"x":[', b"[],", b"0]}")
    yield "empty objects", filled(b"{" + MESSAGE + b',"x":[', b"{},", b"0]}")
    yield "empty strings", filled(b"{" + MESSAGE + b',"x":[', b'"",', b"0]}")
    yield "small numbers", filled(b"{" + MESSAGE + b',"x":[', b"1,", b"0]}")
    yield "one number", filled(b"{" + MESSAGE + b',"x":', b"1", b"}")
    yield "one exponent", filled(b"{" + MESSAGE + b',"x":1e', b"1", b"}")
    yield "open arrays", b"[" * BYTES
    yield "open objects", filled(b"", b'{"a":', b"")
    yield "one key again", filled(b"{" + MESSAGE, b',"x":1', b"}")
    yield "many keys", (b"{" + MESSAGE + b"".join(b',"%d":1' % i for i in range(4_000_000)) + b"}")[:BYTES]
    yield "one key", filled(b"{" + MESSAGE + b',"', b"k", b'":1}')
    yield "spaces", filled(b"{" + MESSAGE, b" ", b"}")
    yield "one string", filled(b"{" + MESSAGE + b',"user":"', b"x", b'"}')
    yield "escapes", filled(b"{" + MESSAGE + b',"user":"', b"\\u0041", b'"}')
    yield "a role", filled(b'{"messages":[{"role":"', b"r", b'","content":"Hi"}]}')
    yield "a type", filled(b'{"messages":[{"role":"user","content":[{"type":"', b"t", b'"}]}]}')
    yield "a model", filled(b"{" + MESSAGE + b',"model":"', b"m", b'"}')
    yield "a stop string", filled(b"{" + MESSAGE + b',"stop":"', b"s", b'"}')
    yield "an address", filled(b'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"',
                               b"u", b'"}}]}]}')
    yield "messages", filled(b'{"messages":[', b'{"role":"user","content":"x"},', b'{"role":"user","content":"x"}]}')
    yield "parts", filled(b'{"messages":[{"role":"user","content":[', b'{"type":"text","text":"x"},',
                          b'{"type":"text","text":"x"}]}]}')
    yield "text", ask("x" * BYTES)
    yield "an image", ask([{"type": "image_url", "image_url": {
        "url": "data:;base64," + base64.b64encode(random.Random(1).randbytes(BYTES * 3 // 4 - 100)).decode()}}])
    yield "spaces in an image", ask([{"type": "image_url", "image_url": {"url": "data:;base64," + " " * (BYTES - 200)}}])
    yield "escapes in an image", ask([{"type": "image_url", "image_url": {"url": "data:," + "%41" * (BYTES // 3 - 100)}}])


class JsonCostTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(BIN)
        cls.cost = Cost(cls.cluster.gateway.process.pid)
        cls.cluster.chat({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1})

    @classmethod
    def tearDownClass(cls):
        cls.cluster.kill()

    def good_client(self):
        """The slowest answer to another client, until it is told to stop."""
        self.stop, self.slowest = threading.Event(), 0.0

        def run():
            while not self.stop.is_set():
                begin = time.monotonic()
                status, answer = self.cluster.chat({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1})
                self.slowest = max(self.slowest, time.monotonic() - begin if status == 200 else 1000.0)
                time.sleep(0.02)
        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def test_every_shape(self):
        idle = self.cost.status("VmRSS")
        good = self.good_client()
        try:
            for name, body in shapes():
                with self.subTest(name):
                    self.cost.reset()
                    status, _, text = self.cluster.request("POST", "/v1/chat/completions", body)
                    seconds, peak = self.cost.used_seconds(), self.cost.peak_bytes() - len(body)
                    print("%-20s %d  %5.2f s  %4d MiB  %s" % (name, status, seconds, peak >> 20, text[:90]))
                    self.assertIn(status, (200, 400, 404))
                    self.assertLess(len(text), 4096)
                    self.assertLessEqual(seconds, MAX_CPU_SECONDS)
                    self.assertLessEqual(peak, MAX_BYTES)
        finally:
            self.stop.set()
            good.join()
        print("another client's slowest answer: %.3f s" % self.slowest)
        self.assertLess(self.slowest, 2)
        self.assertLess(self.cost.status("VmRSS") - idle, 64 << 20, "memory comes back")

    def test_many_at_once(self):
        body = filled(b"{" + MESSAGE + b',"x":[', b"[],", b"0]}")
        self.cost.reset()
        good = self.good_client()
        run_all([lambda: self.cluster.request("POST", "/v1/chat/completions", body)] * 8)
        self.stop.set()
        good.join()
        peak = self.cost.peak_bytes()
        print("eight at once: peak %d MiB, another client's slowest answer %.3f s" % (peak >> 20, self.slowest))
        self.assertLess(peak, 8 * len(body) + MAX_BYTES)
        self.assertLess(self.slowest, 2)
        time.sleep(1)
        self.assertLess(self.cost.status("VmRSS") - self.cost.idle_bytes, 64 << 20, "memory comes back")


if __name__ == "__main__":
    unittest.main(verbosity=2)
