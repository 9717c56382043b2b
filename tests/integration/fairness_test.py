"""One client's 200 requests beside another's one. Usage: fairness_test.py BIN_FOLDER

A client is its address: 127.0.0.1 is greedy, 127.0.0.2 asks once. Over gRPC, and behind a proxy, the
address is the one that a trusted proxy tells.
"""
import http.client
import json
import os
import statistics
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, image_part, png_of, bytes_part, wait_for  # noqa: E402
import grpc_protos  # noqa: E402

BIN = sys.argv.pop(1)
if not all(os.path.exists(os.path.join(BIN, name)) for name in ("lm_service", "vision_service", "gateway")):
    print("SKIPPED: the services are not built")
    sys.exit(77)
if not grpc_protos.MISSING:
    from grpc_protos import chat_pb2, chat_pb2_grpc, grpc  # noqa: E402

STEP_MS = 100
REQUESTS = 200


def ask(text, image=None, **more):
    content = [{"type": "text", "text": text}]
    if image is not None:
        content.insert(0, image)
    return {"messages": [{"role": "user", "content": content}], "temperature": 0, "ignore_eos": True,
            "stream": True, **more}


class FairnessTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(BIN, gateway_flags=["--trusted_proxies=127.0.0.3"],
                              lm_flags=["--max_step_ms=%d" % STEP_MS, "--cache_bytes=%d" % (64 << 20)])

    @classmethod
    def tearDownClass(cls):
        codes = cls.cluster.stop()
        assert codes == [0, 0, 0], codes

    def first_token_s(self, body, source="127.0.0.2", headers=None):
        connection = http.client.HTTPConnection(self.cluster.http, timeout=120, source_address=(source, 0))
        begin = time.monotonic()
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers or {})
            response = connection.getresponse()
            self.assertEqual(response.status, 200, response.status)
            for line in response:
                if b'"content":"' in line and b'"content":""' not in line:
                    return time.monotonic() - begin
            raise AssertionError("no token came")
        finally:
            connection.close()

    def greedy(self, make_body, source="127.0.0.1", headers=None):
        """200 clients of one address, each of which asks again when it is through."""
        self.stop = threading.Event()

        def run(i):
            while not self.stop.is_set():
                connection = http.client.HTTPConnection(self.cluster.http, timeout=120, source_address=(source, 0))
                try:
                    connection.request("POST", "/v1/chat/completions", json.dumps(make_body(i)), headers or {})
                    response = connection.getresponse()
                    if response.status == 429:
                        time.sleep(0.2)
                    while not self.stop.is_set() and response.read(2000):
                        pass
                except OSError:
                    pass
                finally:
                    connection.close()

        threads = [threading.Thread(target=run, args=(i,)) for i in range(REQUESTS)]
        for thread in threads:
            thread.start()

        def end():
            self.stop.set()
            for thread in threads:
                thread.join()
            self.cluster.assert_idle(30)
        return end

    def check(self, ask_once, make_body, **greedy):
        alone = statistics.median(ask_once(i) for i in range(5))
        end = self.greedy(make_body, **greedy)
        try:
            wait_for(lambda: self.cluster.metric(self.cluster.gateway, "vl2_gateway_in_flight") >= 150, 60)
            time.sleep(1)
            beside = [ask_once(100 + i) for i in range(5)]
        finally:
            end()
        limit = 2 * STEP_MS / 1000 + 3 * alone
        print("first token: alone %.3f s, beside %d requests of another %s s, limit %.3f s"
              % (alone, REQUESTS, ["%.3f" % seconds for seconds in beside], limit))
        # The clients of both share the test's processors with the services, hence the median.
        self.assertLess(statistics.median(beside), limit + 0.5)

    def text(self, i):
        return ask("Greedy %d " % i + "word " * 200, max_tokens=300)

    def test_text(self):
        self.check(lambda i: self.first_token_s(ask("Modest %d " % i + "word " * 200, max_tokens=2)), self.text)

    def test_images(self):
        def image(i):
            return bytes_part(png_of(400, 400, i))
        self.check(lambda i: self.first_token_s(ask("Modest", image(10_000 + i), max_tokens=2)),
                   lambda i: ask("Greedy", image(i + int(time.time() * 10) % 1000 * 200), max_tokens=50))

    def test_behind_a_proxy(self):
        self.check(lambda i: self.first_token_s(ask("Modest %d" % i, max_tokens=2), "127.0.0.3",
                                                {"X-Forwarded-For": "10.9.9.9, 10.0.0.2"}),
                   self.text, source="127.0.0.3", headers={"X-Forwarded-For": "10.0.0.1"})

    def test_over_grpc(self):
        if grpc_protos.MISSING:
            self.skipTest(grpc_protos.MISSING)
        stub = chat_pb2_grpc.ChatServiceStub(grpc.insecure_channel(self.cluster.grpc))

        def once(i):
            request = chat_pb2.ChatRequest(max_new_tokens=2, ignore_end_token=True)
            request.messages.add(role=chat_pb2.Message.ROLE_USER).parts.add().text = "Modest %d" % i
            begin = time.monotonic()
            for event in stub.Chat(request, timeout=60):
                if event.HasField("text"):
                    return time.monotonic() - begin
            raise AssertionError("no token came")

        self.check(once, self.text, source="127.0.0.4")


if __name__ == "__main__":
    unittest.main(verbosity=2)
