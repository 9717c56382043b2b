"""Pictures named by http(s) address. Usage: image_url_test.py BIN_FOLDER [unittest flags]"""
import http.server
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import DATA, Cluster, image_part  # noqa: E402

BIN = sys.argv.pop(1)
if not all(os.path.exists(os.path.join(BIN, name)) for name in ("lm_service", "vision_service", "gateway")):
    print("SKIPPED: the services are not built")
    sys.exit(77)

with open(os.path.join(DATA, "images", "scene_300x420.png"), "rb") as picture:
    PNG = picture.read()
MAX_BYTES = 500_000


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    paths = []

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        Handler.paths.append(self.path)
        host = self.headers["Host"]
        if self.path.startswith("/picture.png"):
            self.answer(200, PNG)
        elif self.path == "/once":
            self.answer(302, Location="/picture.png")
        elif self.path == "/whole":
            self.answer(307, Location="http://%s/once" % host)
        elif self.path == "/round":
            self.answer(302, Location="/round")
        elif self.path == "/away":
            self.answer(302, Location="http://elsewhere.test/picture.png")
        elif self.path == "/literal":
            self.answer(302, Location="http://127.0.0.1:%s/picture.png" % host.split(":")[1])
        elif self.path == "/file":
            self.answer(302, Location="file:///etc/passwd")
        elif self.path == "/downgrade":
            self.answer(302, Location="http://%s/picture.png" % host)
        elif self.path == "/missing":
            self.answer(404, b"no")
        elif self.path == "/empty":
            self.answer(200)
        elif self.path == "/text":
            self.answer(200, b"not a picture at all")
        elif self.path == "/large":
            self.answer(200, b"x" * (MAX_BYTES + 1))
        elif self.path == "/endless":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            except OSError:
                pass
        elif self.path == "/slow":
            self.send_response(200)
            self.send_header("Content-Length", str(len(PNG)))
            self.end_headers()
            try:
                for byte in PNG:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(0.05)
            except OSError:
                pass


class QuietServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # clients that leave are part of the tests


def serve(context=None):
    server = QuietServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, server.server_address[1]


def certificate(folder):
    """A certificate for localhost that signs itself; its file and its key's."""
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key,
                    "-out", cert, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                   check=True, capture_output=True)
    return cert, key


def ask(*urls, **more):
    content = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"messages": [{"role": "user", "content": content + [{"type": "text", "text": "What is it?"}]}],
            "temperature": 0, "max_tokens": 8, "ignore_eos": True, **more}


class ImageUrlTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        cls.server, cls.port = serve()
        hosts = ["localhost:%d" % cls.port]
        cls.tls_port = None
        if shutil.which("openssl"):
            cert, key = certificate(cls.folder)
            os.environ["SSL_CERT_FILE"] = cert
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
            cls.tls_server, cls.tls_port = serve(context)
            hosts += ["localhost:%d" % cls.tls_port, "127.0.0.1:%d" % cls.tls_port]
        cls.cluster = Cluster(BIN, gateway_flags=[
            "--image_hosts=" + ",".join(hosts), "--image_hosts_private",
            "--image_url_max_bytes=%d" % MAX_BYTES, "--image_url_timeout_ms=2000"])
        cls.base = "http://localhost:%d" % cls.port

    @classmethod
    def tearDownClass(cls):
        codes = cls.cluster.stop()
        cls.server.shutdown()
        shutil.rmtree(cls.folder)
        assert codes == [0, 0, 0], codes

    def text(self, *urls):
        status, answer = self.cluster.chat(ask(*urls))
        self.assertEqual(status, 200, answer)
        return answer["choices"][0]["message"]["content"]

    def refused(self, url, says, status=400):
        got, answer = self.cluster.chat(ask(url))
        self.assertEqual(got, status, answer)
        self.assertIn(says, answer["error"]["message"])
        if status == 400:
            self.assertEqual(answer["error"]["param"], "messages[0].content[0].image_url.url")
        return answer["error"]["message"]

    def test_same_answer_as_the_bytes(self):
        expected = self.text(image_part("scene_300x420.png")["image_url"]["url"])
        for path in ("/picture.png", "/picture.png?size=2", "/once", "/whole"):
            self.assertEqual(self.text(self.base + path), expected, path)
        both = self.text(self.base + "/picture.png", image_part("scene_300x420.png")["image_url"]["url"])
        twice = self.text(*[image_part("scene_300x420.png")["image_url"]["url"]] * 2)
        self.assertEqual(both, twice)

    def test_refusals(self):
        for path, says in (("/round", "more than 3 redirects"), ("/away", "not fetched from elsewhere.test"),
                           ("/literal", "not fetched from 127.0.0.1"), ("/file", "only http"),
                           ("/missing", "answered 404"), ("/empty", "0 bytes"),
                           ("/large", "more than 500000 bytes"), ("/endless", "more than 500000 bytes")):
            self.refused(self.base + path, says)
        got, answer = self.cluster.chat(ask(self.base + "/text"))
        self.assertEqual(got, 400, answer)
        self.refused("http://localhost:1/picture.png", "not fetched from localhost:1")
        self.refused("http://user:key@localhost:%d/picture.png" % self.port, "user name")
        self.text(self.base + "/picture.png")

    def test_slow_hosts_are_given_up(self):
        begin = time.monotonic()
        self.refused(self.base + "/slow", "took too long")
        self.assertLess(time.monotonic() - begin, 10)

    def test_a_host_that_is_away(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        cluster = Cluster(BIN, gateway_flags=["--image_hosts=localhost:%d" % port, "--image_hosts_private"])
        status, answer = cluster.chat(ask("http://localhost:%d/x.png" % port))
        self.assertEqual(status, 400, answer)
        self.assertIn("refused", answer["error"]["message"])
        self.assertEqual(cluster.stop(), [0, 0, 0])

    def test_private_addresses_and_the_default(self):
        guarded = Cluster(BIN, gateway_flags=["--image_hosts=*:%d,localhost:%d" % (self.port, self.port)])
        seen = len(Handler.paths)
        for host in ("localhost", "127.0.0.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]"):
            status, answer = guarded.chat(ask("http://%s:%d/picture.png" % (host, self.port)))
            self.assertEqual(status, 400, answer)
            self.assertIn("not public", answer["error"]["message"])
        self.assertEqual(len(Handler.paths), seen)
        self.assertEqual(guarded.stop(), [0, 0, 0])
        closed = Cluster(BIN)
        status, answer = closed.chat(ask(self.base + "/picture.png"))
        self.assertEqual(status, 400, answer)
        self.assertIn("fetches nothing", answer["error"]["message"])
        self.assertEqual(closed.stop(), [0, 0, 0])

    def test_tls(self):
        if self.tls_port is None:
            self.skipTest("no openssl program")
        expected = self.text(self.base + "/picture.png")
        self.assertEqual(self.text("https://localhost:%d/picture.png" % self.tls_port), expected)
        # The certificate is not for this name.
        self.refused("https://127.0.0.1:%d/picture.png" % self.tls_port, "certificate verify failed")
        self.refused("https://localhost:%d/downgrade" % self.tls_port, "https to http")
        self.refused("http://localhost:%d/picture.png" % self.tls_port, "the host localhost")

    def test_a_client_that_leaves_ends_the_fetch(self):
        connection = self.cluster.connect()
        import json
        connection.request("POST", "/v1/chat/completions", json.dumps(ask(self.base + "/slow")))
        deadline = time.monotonic() + 10
        while self.cluster.metric(self.cluster.gateway, "vl2_gateway_in_flight") != 1:
            self.assertLess(time.monotonic(), deadline)
        connection.sock.close()
        while self.cluster.metric(self.cluster.gateway, "vl2_gateway_in_flight") != 0:
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual(self.cluster.metric(self.cluster.gateway, "vl2_gateway_held_body_bytes"), 0)


if __name__ == "__main__":
    unittest.main()
