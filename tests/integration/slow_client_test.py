"""Slow, idle, greedy and lost parties: none of them may stop the others. Usage: slow_client_test.py BIN_FOLDER"""
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, image_part, run_all, wait_for  # noqa: E402

BIN = sys.argv.pop(1)
if not all(os.path.exists(os.path.join(BIN, name)) for name in ("lm_service", "vision_service", "gateway")):
    print("SKIPPED: the services are not built")
    sys.exit(77)

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def ask(text="Hi", **more):
    content = text if isinstance(text, list) else [{"type": "text", "text": text}]
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 4, "temperature": 0,
            "ignore_eos": True, **more}


def read_answer(client):
    """Everything up to the connection's end."""
    received = b""
    try:
        while chunk := client.recv(65536):
            received += chunk
    except ConnectionError:
        pass
    return received


class SlowClientTest(unittest.TestCase):
    def cluster(self, *flags, **more):
        cluster = Cluster(BIN, gateway_flags=flags, **more)
        self.addCleanup(cluster.kill)
        return cluster

    def connect(self, cluster):
        client = socket.create_connection(cluster.http.split(":"), timeout=60)
        self.addCleanup(client.close)
        return client

    def assert_good_client(self, cluster, seconds=2):
        begin = time.monotonic()
        status, answer = cluster.chat(ask())
        took = time.monotonic() - begin
        self.assertEqual(status, 200, answer)
        self.assertLess(took, seconds)

    def test_slow_bodies(self):
        """They take no slot and no memory that has not come; they are given up after a while."""
        cluster = self.cluster("--body_grace_ms=3000", "--max_in_flight=16")
        slow = [self.connect(cluster) for _ in range(300)]
        for i, client in enumerate(slow):
            told = 64 << 20 if i % 2 else 100
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n{" % told)
        wait_for(lambda: cluster.metric(cluster.gateway, "vl2_gateway_reading") == 300, 20)
        self.assertEqual(cluster.metric(cluster.gateway, "vl2_gateway_in_flight"), 0)
        self.assertEqual(cluster.metric(cluster.gateway, "vl2_gateway_held_body_bytes"), 300)
        for _ in range(10):
            for client in slow:
                try:
                    client.sendall(b" ")
                except OSError:
                    pass  # has been given up
            self.assert_good_client(cluster)
            time.sleep(0.3)
        for client in slow:
            self.assertIn(b"HTTP/1.1 408", read_answer(client)[:20])
        self.assertEqual(cluster.metric(cluster.gateway, "vl2_gateway_held_body_bytes"), 0)

    def test_a_body_has_a_deadline(self):
        cluster = self.cluster("--body_timeout_ms=1500", "--min_body_rate=1")
        client = self.connect(cluster)
        begin = time.monotonic()
        client.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + b" " * 10000)
        answer = read_answer(client)
        self.assertIn(b"HTTP/1.1 408", answer)
        self.assertIn(b"1500", answer)
        self.assertLess(time.monotonic() - begin, 10)

    def test_a_header_has_a_deadline_and_a_whole_one_is_read_in_pieces(self):
        cluster = self.cluster()
        client = self.connect(cluster)
        for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
            client.sendall(bytes([byte]))
        self.assertIn(b"200 OK", read_answer(client))

    def test_few_descriptors(self):
        """64 of them, and far more connections that wait for nothing."""
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        cluster = self.cluster()
        pid = cluster.gateway.process.pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, before[1]))
        idle = [self.connect(cluster) for _ in range(120)]
        for _ in range(5):
            self.assert_good_client(cluster)
            time.sleep(0.2)
        # Half a header is no more than idle.
        for client in idle[::2]:
            try:
                client.sendall(b"POST /v1/chat")
            except OSError:
                pass
        self.assert_good_client(cluster)
        warnings = cluster.gateway.text().count("cannot accept")
        self.assertLessEqual(warnings, 3)
        self.assertGreaterEqual(warnings, 1)

    def test_no_descriptor_and_nobody_idle(self):
        """Those that are served go on, and a newcomer is told."""
        cluster = self.cluster()
        streams = []
        body = json.dumps(ask(max_tokens=3000, stream=True)).encode()
        pid = cluster.gateway.process.pid
        for _ in range(4):
            client = self.connect(cluster)
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            self.assertIn(b"200 OK", client.recv(100))
            streams.append(client)
        # From now on the next descriptor would be one too many.
        used = {int(name) for name in os.listdir("/proc/%d/fd" % pid)}
        free = min(set(range(len(used) + 1)) - used)
        resource.prlimit(pid, resource.RLIMIT_NOFILE,
                         (free, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        late = self.connect(cluster)
        answer = read_answer(late)
        self.assertIn(b"503", answer)
        self.assertIn(b"Retry-After", answer)
        for client in streams:
            self.assertTrue(client.recv(100))
            client.close()
        wait_for(lambda: cluster.request("GET", "/healthz")[0] == 200, 10)

    def test_connections_beyond_the_limit(self):
        cluster = self.cluster("--max_connections=20")
        idle = [self.connect(cluster) for _ in range(50)]
        self.assert_good_client(cluster)
        closed = [client for client in idle[:20] if not read_answer(client)]
        self.assertEqual(len(closed), 20, "the oldest go first")

    def test_a_silent_name_server(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            cluster = self.cluster("--image_hosts=*:1,127.0.0.1:1", "--image_hosts_private",
                                   "--name_servers=127.0.0.1:%d" % silent.getsockname()[1],
                                   "--image_url_timeout_ms=3000")

            def fetch(host):
                begin = time.monotonic()
                status, answer = cluster.chat(ask(
                    [{"type": "image_url", "image_url": {"url": "http://%s:1/x.png" % host}}]))
                self.assertEqual(status, 400, answer)
                return answer["error"]["message"], time.monotonic() - begin

            results = []
            slow = [threading.Thread(target=lambda i=i: results.append(fetch("host%d.test" % i)))
                    for i in range(40)]
            for thread in slow:
                thread.start()
            wait_for(lambda: cluster.metric(cluster.gateway, "vl2_gateway_name_lookups") == 40, 5)
            for host in ("127.0.0.1", "localhost"):
                message, seconds = fetch(host)
                self.assertIn("refused", message)
                self.assertLess(seconds, 1)
            self.assert_good_client(cluster)
            for thread in slow:
                thread.join()
            for message, seconds in results:
                self.assertIn("took too long", message)
                self.assertLess(seconds, 4.5)
            # A client that leaves is not waited for either.
            client = self.connect(cluster)
            body = json.dumps(ask([{"type": "image_url", "image_url": {"url": "http://a.test:1/"}}])).encode()
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            wait_for(lambda: cluster.metric(cluster.gateway, "vl2_gateway_in_flight") == 1, 5)
            client.close()
            wait_for(lambda: cluster.metric(cluster.gateway, "vl2_gateway_in_flight") == 0, 1)

    def test_a_broken_image_is_refused_streamed_or_not(self):
        cluster = self.cluster()
        whole = image_part("scene_300x420.png")["image_url"]["url"]
        broken = {"type": "image_url", "image_url": {"url": whole[:len(whole) // 2 // 4 * 4]}}
        for stream in (False, True):
            status, _, body = cluster.request("POST", "/v1/chat/completions",
                                              ask([broken, {"type": "text", "text": "?"}], stream=stream))
            self.assertEqual(status, 400, body)

    def test_a_stream_that_began_ends_with_an_error_and_done(self):
        """The drain's deadline cuts it off; its client hears so."""
        cluster = self.cluster("--drain_timeout_ms=500")
        chunks = cluster.open_stream(ask(max_tokens=3900))
        seen = [next(chunks) for _ in range(3)]
        self.assertNotIn("error", seen[-1])
        cluster.gateway.process.send_signal(signal.SIGTERM)
        rest = list(chunks)
        self.assertEqual(rest[-1], "[DONE]")
        self.assertIn("shutting down", rest[-2]["error"]["message"])
        self.assertEqual(cluster.gateway.process.wait(20), 0)

    def test_a_waiting_request_hears_of_the_end(self):
        cluster = self.cluster("--drain_timeout_ms=500")
        results = []
        waiting = threading.Thread(target=lambda: results.append(cluster.chat(ask(max_tokens=3900))))
        waiting.start()
        wait_for(lambda: cluster.metric(cluster.gateway, "vl2_gateway_in_flight") == 1, 5)
        cluster.gateway.process.send_signal(signal.SIGTERM)
        waiting.join(20)
        self.assertEqual(results[0][0], 503, results)


if __name__ == "__main__":
    unittest.main(verbosity=2)
