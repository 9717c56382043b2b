"""Clients that leave early, at every moment and in every manner, while other clients' streams run.

Usage: leave_test.py BIN_FOLDER [--gateway=FILE] [--rounds=N] [--large=N] [unittest flags]
--gateway: another build of the gateway, such as one with AddressSanitizer.
--rounds: how many clients leave; --large: how many of them with a body of 20 MB.
"""
import base64
import http.server
import json
import os
import random
import socket
import struct
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, flag, png_of, run_all, wait_for  # noqa: E402
from steady_streams import SteadyStreams  # noqa: E402

BIN = sys.argv.pop(1)


GATEWAY = flag(sys.argv, "gateway", "")
ROUNDS = int(flag(sys.argv, "rounds", "1000"))
LARGE = int(flag(sys.argv, "large", str(max(1, ROUNDS // 50))))
if not all(os.path.exists(os.path.join(BIN, name)) for name in ("lm_service", "vision_service", "gateway")):
    print("SKIPPED: the services are not built")
    sys.exit(77)


class SilentHost(http.server.BaseHTTPRequestHandler):
    """Takes its time to answer, and never does."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        time.sleep(5)


def data_uri(data):
    return "data:image/png;base64," + base64.b64encode(data).decode()


class LeaveTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = http.server.ThreadingHTTPServer(("127.0.0.1", 0), SilentHost)
        cls.host.daemon_threads = True
        threading.Thread(target=cls.host.serve_forever, daemon=True).start()
        port = cls.host.server_address[1]
        cls.cluster = Cluster(BIN, gateway_binary=GATEWAY or None, gateway_flags=[
            "--image_hosts=127.0.0.1:%d" % port, "--image_hosts_private", "--image_url_timeout_ms=4000"])
        cls.address = tuple(cls.cluster.http.split(":"))
        cls.slow_image = "http://127.0.0.1:%d/x.png" % port
        small = png_of(64, 64, 1)
        cls.bodies = {
            "text": cls.body([{"type": "text", "text": "Hello"}]),
            "image": cls.body([{"type": "image_url", "image_url": {"url": data_uri(small)}}]),
            "url": cls.body([{"type": "image_url", "image_url": {"url": cls.slow_image}}] * 3),
            "1 MB": cls.body([{"type": "image_url", "image_url": {"url": data_uri(small)}}],
                             user="x" * 1_000_000),
            "20 MB": cls.body([{"type": "image_url", "image_url": {"url": data_uri(random.Random(1).randbytes(15_000_000))}}]),
        }

    @staticmethod
    def body(content, **more):
        return {"messages": [{"role": "user", "content": content + [{"type": "text", "text": "What?"}]}],
                "max_tokens": 500, "ignore_eos": True, **more}

    @classmethod
    def request(cls, kind, stream, samples):
        body = json.dumps({**cls.bodies[kind], "stream": stream, "n": samples}).encode()
        return (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body)) + body

    @classmethod
    def tearDownClass(cls):
        codes = cls.cluster.stop()
        cls.host.shutdown()
        log = cls.cluster.gateway.text()
        assert codes == [0, 0, 0], (codes, log[-3000:])
        assert "exception" not in log and "Sanitizer" not in log, log[-3000:]

    def leave(self, data, delay, how, before=b"", after=b""):
        """Sends data, waits, and leaves."""
        client = socket.create_connection(self.address, timeout=30)
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if before:  # a whole exchange on the same connection
                client.sendall(before)
                while not client.recv(65536).endswith(b"ok\n"):
                    pass
            client.sendall(data + after)
            until = time.monotonic() + delay
            while time.monotonic() < until:
                time.sleep(min(0.0001, max(0.0, until - time.monotonic())))
            if how == "half":
                client.shutdown(socket.SHUT_WR)
                client.settimeout(20)
                while client.recv(65536):
                    pass
            elif how == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            if how != "reset" and self.cluster.gateway.process.poll() is not None:
                raise
        finally:
            client.close()

    def one(self, number):
        """Round `number`: its manner is drawn from the number, its delay steps through 50 ms."""
        draw = random.Random(number)
        kind = draw.choice(["text", "text", "text", "image", "image", "url", "1 MB"])
        if number < LARGE:
            kind = "20 MB"
        data = self.request(kind, stream=draw.random() < 0.5, samples=draw.choice([1, 1, 3]))
        delay = (number % 500) * 0.0001
        if kind == "20 MB":
            data = data[:draw.randrange(1, len(data))] if draw.random() < 0.5 else data
            delay *= 10
        elif draw.random() < 0.1:
            data = data[:draw.randrange(1, len(data))]
        health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        before = health if draw.random() < 0.2 else b""
        after = draw.choice([b"", b"", b"ab", health, data[:100_000]])
        self.leave(data, delay, draw.choice(["close", "reset", "half"]), before, after)

    def test_leaving_at_every_stage(self):
        gateway = self.cluster.gateway
        with SteadyStreams(self.cluster, image=self.bodies["image"]["messages"][0]["content"][0]) as streams:
            def run(first):
                for number in range(first, ROUNDS, 4):
                    self.one(number)
                    if gateway.process.poll() is not None:
                        raise AssertionError("the gateway ended in round %d: %s" % (number, gateway.text()[-3000:]))
            run_all([lambda first=first: run(first) for first in range(4)])
        print("%d clients left, %d answers streamed, the slowest in %.1f s"
              % (ROUNDS, streams.answers, streams.slowest))
        self.nothing_is_left()

    def nothing_is_left(self):
        gateway = self.cluster.gateway
        self.cluster.assert_idle(30)
        for name in ("vl2_gateway_held_body_bytes", "vl2_gateway_reading", "vl2_gateway_name_lookups"):
            wait_for(lambda name=name: self.cluster.metric(gateway, name) == 0, 20, name)
        wait_for(lambda: self.cluster.metric(gateway, "vl2_gateway_connections") == 0, 20, "connections")

    def test_leaving_behind_unread_bytes_ends_the_request(self):
        """Two bytes more than the request are in the socket when the client leaves."""
        data = self.request("text", stream=False, samples=16)
        client = socket.create_connection(self.address)
        client.sendall(data + b"ab")
        wait_for(lambda: self.cluster.running(self.cluster.lm[0]) == 1, 20)
        client.close()
        self.cluster.assert_idle(5)

    def test_a_cancelled_request_counts(self):
        def seen():
            _, _, text = self.metrics()
            return sum(float(line.rsplit(" ", 1)[1]) for line in text.decode().splitlines()
                       if line.startswith('vl2_gateway_requests_total{api="http",client="-",code="cancelled"}'))

        before = seen()
        with socket.create_connection(self.address) as client:
            client.sendall(self.request("text", stream=True, samples=16))
            wait_for(lambda: self.cluster.running(self.cluster.lm[0]) == 1, 20)
        wait_for(lambda: seen() == before + 1, 10, "a cancelled request in the latency metric")

    def metrics(self):
        import http.client
        connection = http.client.HTTPConnection(self.cluster.metrics, timeout=20)
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read()


if __name__ == "__main__":
    unittest.main(verbosity=2)
