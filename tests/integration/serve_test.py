"""The three services together, seen from HTTP. Usage: serve_test.py BIN_FOLDER [unittest flags]"""
import json
import os
import signal
import socket
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import DATA, Cluster, image_part, key_file, picture_part, text_of  # noqa: E402

BIN = sys.argv.pop(1)
MISSING = [name for name in ("lm_service", "vision_service", "gateway")
           if not os.path.exists(os.path.join(BIN, name))]
if MISSING:
    print("SKIPPED: not built: " + ", ".join(MISSING))
    sys.exit(77)

TINY_PICTURE = os.path.join(DATA, "pixels", "01_tiny_20x10_input.png")
GREEDY = {"temperature": 0, "repetition_penalty": 1, "top_p": 1, "top_k": 0}
# What the reference implementation answers for tests/golden/data/cases (24 tokens, float32).
GOLDEN_SCENE = ("\ufffd: vl5ivconvk to\ufffd_g\ufffduget\ufffdersation_gptepseps"
                "\ufffd\ufffdhtt--------")


def ask(*content, **more):
    if len(content) == 1 and isinstance(content[0], str):
        content = content[0]
    else:
        content = [{"type": "text", "text": part} if isinstance(part, str) else part
                   for part in content]
    return {"messages": [{"role": "user", "content": content}], **GREEDY, "ignore_eos": True,
            "max_tokens": 24, **more}


def scene(**more):
    return ask(image_part("scene_640x480.png"), "Describe this image in detail.", **more)


class ServeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(BIN, gateway_flags=["--max_body_bytes=8000000"])

    @classmethod
    def tearDownClass(cls):
        codes = cls.cluster.stop()
        assert codes == [0, 0, 0], codes

    def chat(self, body):
        status, answer = self.cluster.chat(body)
        self.assertEqual(status, 200, answer)
        return answer

    def refused(self, body, status, param=None, says=""):
        got, answer = self.cluster.chat(body)
        self.assertEqual(got, status, answer)
        self.assertEqual(answer["error"]["param"], param, answer)
        self.assertIn(says, answer["error"]["message"])
        return answer["error"]

    def test_small_pages(self):
        for path, status in [("/healthz", 200), ("/livez", 200), ("/readyz", 200),
                             ("/readyz/pools", 200), ("/", 200), ("/v1/models", 200),
                             ("/nothing", 404), ("/v1/chat/completions", 405)]:
            self.assertEqual(self.cluster.request("GET", path)[0], status, path)
        models = json.loads(self.cluster.request("GET", "/v1/models")[2])
        self.assertEqual([model["id"] for model in models["data"]], ["tiny_mha"])
        page = self.cluster.request("GET", "/")[2].decode()
        self.assertNotIn("http://", page)
        self.assertNotIn("https://", page)

    def test_text_as_the_reference(self):
        with open(os.path.join(DATA, "cases", "c1_text.json")) as file:
            question = json.load(file)["conversation"][0]["content"]
        with open(os.path.join(DATA, "outputs", "tiny_mha", "c1_text.json")) as file:
            golden = json.load(file)
        answer = self.chat(ask(question, max_tokens=len(golden["greedy_ids"])))
        choice = answer["choices"][0]
        # Grounding tokens stay in the text, other special ones do not.
        self.assertEqual(choice["message"]["content"].replace("<|grounding|>", ""),
                         golden["greedy_text_skip_special_true"])
        self.assertEqual(choice["finish_reason"], "length")
        self.assertEqual(answer["usage"]["prompt_tokens"], golden["num_tokens"])
        self.assertEqual(answer["usage"]["completion_tokens"], len(golden["greedy_ids"]))

    def test_picture_as_the_reference(self):
        answer = self.chat(scene())
        self.assertEqual(answer["choices"][0]["message"]["content"], GOLDEN_SCENE)
        self.assertEqual(answer["usage"]["prompt_tokens"], 1045)
        again = self.chat(scene())
        self.assertEqual(again["choices"][0]["message"]["content"], GOLDEN_SCENE)
        self.assertGreater(again["usage"]["prompt_tokens_details"]["cached_tokens"], 900)

    def test_stream_is_the_whole_answer(self):
        body = scene(temperature=1, seed=5, n=2, logprobs=True, top_logprobs=2)
        whole = self.chat(body)
        chunks = self.cluster.stream({**body, "stream_options": {"include_usage": True}})
        self.assertEqual(chunks[-1], "[DONE]")
        self.assertEqual(chunks[-2]["choices"], [])
        self.assertEqual(chunks[-2]["usage"]["prompt_tokens"], whole["usage"]["prompt_tokens"])
        self.assertEqual(chunks[-2]["usage"]["completion_tokens"], 48)
        for index in range(2):
            choice = whole["choices"][index]
            self.assertEqual(text_of(chunks, index), choice["message"]["content"])
            tokens = [token for chunk in chunks[:-2] for each in chunk["choices"]
                      if each["index"] == index and each["logprobs"]
                      for token in each["logprobs"]["content"]]
            self.assertEqual(tokens, choice["logprobs"]["content"])
            self.assertEqual(len(tokens[0]["top_logprobs"]), 2)
            spelled = bytes(value for token in tokens for value in token["bytes"])
            self.assertEqual(spelled.decode(errors="replace"), choice["message"]["content"])
        self.assertNotEqual(text_of(chunks, 0), text_of(chunks, 1))

    def test_two_pictures_and_tilings(self):
        two = ask("This is image_1: ", image_part("scene_500x333.png"), "This is image_2: ",
                  image_part("scene_300x420.png"), "Please compare the two images.")
        self.assertEqual(self.chat(two)["usage"]["prompt_tokens"], 1285)
        # One tile and the global view: 421 embeddings each.
        for part in [image_part("scene_640x480.png", tiling={"max_tiles": 1}),
                     image_part("scene_640x480.png", tiling={"tiles_wide": 1, "tiles_high": 1})]:
            answer = self.chat(ask(part, "Describe this image in detail.", max_tokens=1))
            self.assertEqual(answer["usage"]["prompt_tokens"], 1045 - 1023 + 421)

    def test_stop_string(self):
        answer = self.chat(scene(stop=["conv"], max_tokens=24))
        choice = answer["choices"][0]
        self.assertEqual(choice["message"]["content"], GOLDEN_SCENE.split("conv")[0])
        self.assertEqual(choice["finish_reason"], "stop")
        self.assertLess(answer["usage"]["completion_tokens"], 24)
        self.assertEqual(text_of(self.cluster.stream(scene(stop=["conv"]))),
                         choice["message"]["content"])

    def test_an_answer_goes_on(self):
        answer = self.chat({**scene(max_tokens=4), "messages": [
            scene()["messages"][0], {"role": "assistant", "content": "It shows"}]})
        self.assertEqual(answer["usage"]["completion_tokens"], 4)

    def test_refusals(self):
        self.refused({"messages": []}, 400, "messages")
        self.refused(ask("x", logprobs=True, top_logprobs=21), 400, "top_logprobs", "20")
        self.refused(ask("x", model="gpt-4"), 404, "model")
        self.refused(ask("x", tools=[{"type": "function"}]), 400, "tools")
        self.refused(ask({"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}), 400,
                     "messages[0].content[0].image_url.url", "fetches nothing")
        bad = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        self.assertEqual(self.refused(ask(bad, "?"), 400, "messages")["code"], "invalid_image")
        big = image_part("scene_640x480.png", tiling={"max_tiles": 9})
        error = self.refused(ask(big, big, "word " * 3000), 400, "messages", "4095")
        self.assertEqual(error["code"], "context_length_exceeded")
        status, _, body = self.cluster.request("POST", "/v1/chat/completions", "{")
        self.assertEqual((status, json.loads(body)["error"]["type"]), (400, "invalid_request_error"))
        status, _, body = self.cluster.request("POST", "/v1/chat/completions", "x" * 8000001)
        self.assertEqual(status, 413, body)
        # A refusal comes with its own status for streams too.
        self.refused({**ask(bad, "?"), "stream": True}, 400, "messages")

    def test_a_client_that_leaves_ends_its_request(self):
        connection = self.cluster.connect()
        connection.request("POST", "/v1/chat/completions",
                           json.dumps(ask("Hello", max_tokens=4000, stream=True)))
        response = connection.getresponse()
        response.readline()
        self.assertEqual(self.cluster.metric(self.cluster.gateway, "vl2_gateway_upstream_calls"), 1)
        connection.sock.shutdown(socket.SHUT_RDWR)
        response.close()
        connection.close()
        deadline = time.monotonic() + 5
        while self.cluster.metric(self.cluster.gateway, "vl2_gateway_upstream_calls") > 0:
            self.assertLess(time.monotonic(), deadline, "the upstream call goes on")
            time.sleep(0.02)

    def test_keep_alive_and_many_at_once(self):
        connection = self.cluster.connect()
        for _ in range(3):
            connection.request("POST", "/v1/chat/completions", json.dumps(ask("Hi", max_tokens=2)))
            self.assertEqual(connection.getresponse().read()[:1], b"{")
        connection.close()
        alone = self.chat(ask("Count.", max_tokens=12))["choices"][0]["message"]["content"]
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(
            self.chat(ask("Count.", max_tokens=12)))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual({answer["choices"][0]["message"]["content"] for answer in answers},
                         {alone})


    def raw(self, data):
        """All that comes back until the server closes."""
        host, port = self.cluster.http.split(":")
        received = b""
        with socket.create_connection((host, int(port)), timeout=20) as client:
            client.sendall(data)
            while chunk := client.recv(65536):
                received += chunk
        return received

    def test_hostile_http(self):
        post = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        for data, status in [
                (b"garbage\r\n\r\n", b"400"),
                (b"GET / HTTP/1.1\r\nX: " + b"a" * 40000 + b"\r\n\r\n", b"400"),
                (post + b"Content-Length: 99999999999\r\n\r\n", b"413"),
                (post + b"Content-Length: -1\r\n\r\n", b"400"),
                (post + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                        b"2\r\n{}\r\n0\r\n\r\n", b"400"),
                (b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"200")]:
            self.assertEqual(self.raw(data)[9:12], status, data[:80])
        health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
        ahead = self.raw((health + b"\r\n") * 2 + health + b"Connection: close\r\n\r\n")
        self.assertEqual(ahead.count(b"HTTP/1.1 200"), 3)

    def test_request_lines_of_all_forms(self):
        close = b"Host: x\r\nConnection: close\r\n\r\n"
        for head in (b"\r\nGET /v1/models HTTP/1.1\r\n", b"\r\n\r\n\nGET /v1/models HTTP/1.1\r\n",
                     b"GET http://localhost/v1/models HTTP/1.1\r\n", b"GET /v1/models/tiny_mha HTTP/1.1\r\n",
                     b"GET http://localhost:80/v1/models/tiny%5Fmha?x HTTP/1.1\r\n"):
            self.assertIn(b"HTTP/1.1 200", self.raw(head + close)[:20], head)
        self.assertIn(b"HTTP/1.1 400", self.raw(b"\r\n" * 50 + b"GET / HTTP/1.1\r\n" + close)[:20])
        missing = self.raw(b"GET /v1/models/other HTTP/1.1\r\n" + close)
        self.assertIn(b"HTTP/1.1 404", missing)
        self.assertIn(b"model_not_found", missing)

    def test_web_pages(self):
        """A page of another origin cannot use a server of this machine alone; see WebPageRules."""
        def status(headers):
            return self.cluster.request("POST", "/v1/chat/completions", ask("Hi", max_tokens=1), headers)[0]

        self.assertEqual(status({"Host": "rebound.example"}), 403)
        self.assertEqual(status({"Host": "localhost:1"}), 200)
        self.assertEqual(status({"Origin": "https://evil.example", "Content-Type": "text/plain"}), 403)
        self.assertEqual(status({"Origin": "http://" + self.cluster.http, "Content-Type": "text/plain"}), 200)
        self.assertEqual(self.cluster.request("GET", "/healthz", None, {"Host": "rebound.example"})[0], 200)
        self.assertEqual(self.cluster.request("OPTIONS", "/v1/chat/completions", None, {
            "Origin": "https://evil.example", "Access-Control-Request-Method": "POST"})[0], 405)

    def test_old_clients_and_expect(self):
        body = json.dumps(ask("Hi", max_tokens=2, stream=True)).encode()
        old = self.raw(b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s"
                       % (len(body), body))
        self.assertTrue(old.endswith(b"data: [DONE]\n\n"), old)
        self.assertNotIn(b"chunked", old)
        host, port = self.cluster.http.split(":")
        with socket.create_connection((host, int(port)), timeout=20) as client:
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
                           b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
            self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 100"))
            client.sendall(body)
            self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 200"))


class LimitsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keys = key_file([("someone", "secret", "tenant", "- - -")])
        cls.cluster = Cluster(BIN, gateway_flags=[
            "--max_in_flight=1", "--api_keys=" + cls.keys.name, "--cors_origin=https://a.example"])

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()
        cls.keys.close()

    def test_key_limit_and_drain(self):
        path = "/v1/chat/completions"
        key = {"Authorization": "Bearer secret"}
        self.assertEqual(self.cluster.request("POST", path, ask("x"))[0], 401)
        self.assertEqual(self.cluster.request("GET", "/v1/models")[0], 401)
        status, headers, _ = self.cluster.request("GET", "/v1/models", None, key)
        self.assertEqual(status, 200)
        self.assertEqual(headers["Access-Control-Allow-Origin"], "https://a.example")

        # What a browser asks before the openai client's request.
        asked = "authorization,content-type,x-stainless-os,x-stainless-retry-count,openai-organization,x-api-key"
        status, headers, _ = self.cluster.request("OPTIONS", path, None, {
            "Origin": "https://a.example", "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": asked, "Access-Control-Request-Private-Network": "true"})
        self.assertEqual(status, 204)
        self.assertEqual(headers["Access-Control-Allow-Origin"], "https://a.example")
        self.assertEqual(headers["Access-Control-Allow-Headers"].replace(" ", ""), asked)
        self.assertIn("POST", headers["Access-Control-Allow-Methods"])
        self.assertEqual(headers["Access-Control-Allow-Private-Network"], "true")
        self.assertGreater(int(headers["Access-Control-Max-Age"]), 0)
        self.assertIn("Access-Control-Request-Headers", headers["Vary"])

        connection = self.cluster.connect()
        connection.request("POST", path, json.dumps(ask("x", max_tokens=1500, stream=True)), key)
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        response.readline()
        status, headers, body = self.cluster.request("POST", path, ask("x"), key)
        self.assertEqual(status, 429, body)
        self.assertIn(int(headers["Retry-After"]), range(1, 31))
        self.assertEqual(json.loads(body)["error"]["code"], "overloaded")

        # A stop waits for the answer that is under way.
        stopped = threading.Thread(target=self.cluster.gateway.stop)
        stopped.start()
        rest = response.read().decode()
        self.assertTrue(rest.endswith("data: [DONE]\n\n"), rest[-200:])
        stopped.join()
        self.assertEqual(self.cluster.gateway.process.returncode, 0)


class RequestIdTest(unittest.TestCase):
    def test_a_request_has_one_name_everywhere(self):
        cluster = Cluster(BIN, num_lm=2, gateway_flags=["--probe_interval_ms=200"])
        self.addCleanup(cluster.stop)
        path = "/v1/chat/completions"
        _, headers, _ = cluster.request("POST", path, ask("x", max_tokens=1))
        made = headers["X-Request-Id"]
        self.assertRegex(made, r"^req-[0-9a-f]{16}$")
        self.assertNotEqual(made, cluster.request("POST", path, ask("x", max_tokens=1))[1]["X-Request-Id"])
        for bad in ("x" * 129, "two words", ""):
            _, headers, _ = cluster.request("POST", path, ask("x", max_tokens=1), {"X-Request-Id": bad})
            self.assertRegex(headers["X-Request-Id"], r"^req-[0-9a-f]{16}$", bad)
        status, headers, _ = cluster.request("POST", path, ask("x", temperature=-1), {"X-Request-Id": "mine/1"})
        self.assertEqual((status, headers["X-Request-Id"]), (400, "mine/1"))
        # Streams too, and what goes wrong with it is logged under that name.
        connection = cluster.connect()
        connection.request("POST", path, json.dumps(ask("x", max_tokens=3000, stream=True)), {"X-Request-Id": "mine/2"})
        response = connection.getresponse()
        self.assertEqual(response.getheader("X-Request-Id"), "mine/2")
        response.readline()
        max(cluster.lm, key=cluster.running).kill()
        self.assertTrue(response.read().decode().endswith("data: [DONE]\n\n"))
        self.assertIn("language replica lost request=mine/2", cluster.gateway.text())


class DrainTest(unittest.TestCase):
    def test_a_chat_on_an_open_connection_is_answered_while_the_gateway_drains(self):
        cluster = Cluster(BIN)
        self.addCleanup(cluster.stop)
        idle = cluster.connect()
        idle.request("GET", "/v1/models")
        idle.getresponse().read()
        stream = cluster.open_stream(ask("x", max_tokens=3000))
        next(stream)
        cluster.gateway.process.terminate()
        deadline = time.monotonic() + 10
        while b"stopping" not in cluster.gateway.text().encode():
            self.assertLess(time.monotonic(), deadline)
        time.sleep(0.05)
        idle.request("POST", "/v1/chat/completions", json.dumps(ask("Hi", max_tokens=2)))
        response = idle.getresponse()
        self.assertEqual((response.status, response.getheader("Connection")), (200, "close"), response.read())
        self.assertEqual(list(stream)[-1], "[DONE]")


class SilentStreamsTest(unittest.TestCase):
    def test_many_silent_streams_and_connections(self):
        cluster = Cluster(BIN, gateway_flags=["--sse_comment_ms=500", "--max_in_flight=3000"],
                          vision_flags=["--max_held_images=3000"])
        clients = []
        try:
            address = tuple(cluster.http.split(":"))
            body = json.dumps({**ask(picture_part(TINY_PICTURE), "Hi", max_tokens=2), "stream": True}).encode()
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
            cluster.vision[0].process.send_signal(signal.SIGSTOP)
            for i in range(1500):
                clients.append(socket.create_connection(address, timeout=60))
                if i % 2:  # every other one is a stream, the rest are connections and nothing more
                    clients[-1].sendall(head + body)
            for client in clients[1::2]:
                received = b""
                while b": " not in received.partition(b"\r\n\r\n")[2]:
                    chunk = client.recv(4096)
                    self.assertTrue(chunk, received)
                    received += chunk
                self.assertIn(b"200 OK", received)
            self.assertEqual(cluster.metric(cluster.gateway, "vl2_gateway_connections"), 1500)
            # The others are not kept waiting, and leaving is noticed.
            self.assertEqual(cluster.chat(ask("Hi", max_tokens=2))[0], 200)
            for client in clients[:-1]:
                client.close()
            cluster.vision[0].process.send_signal(signal.SIGCONT)
            received = b""
            while b"[DONE]" not in received:
                chunk = clients[-1].recv(65536)
                self.assertTrue(chunk, received[-500:])
                received += chunk
            deadline = time.monotonic() + 60
            while cluster.metric(cluster.gateway, "vl2_gateway_in_flight") != 0:
                self.assertLess(time.monotonic(), deadline)
        finally:
            cluster.vision[0].process.send_signal(signal.SIGCONT)
            for client in clients:
                client.close()
            self.assertEqual(cluster.stop(), [0, 0, 0])


class MismatchTest(unittest.TestCase):
    def test_bodies_in_flight_are_bounded(self):
        cluster = Cluster(BIN, gateway_flags=["--max_body_bytes=1000000", "--max_held_body_bytes=1500000",
                                              "--body_grace_ms=50000"])
        try:
            held = socket.create_connection(cluster.http.split(":"))
            # What a header tells holds nothing; what has come does.
            held.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n"
                         + b"{" * 1000)
            deadline = time.monotonic() + 30
            while cluster.metric(cluster.gateway, "vl2_gateway_held_body_bytes") != 1000:
                self.assertLess(time.monotonic(), deadline)
            self.assertEqual(cluster.chat({**ask("Hi", max_tokens=2), "user": "x" * 900000})[0], 200)
            # An answer is there a moment before its request lets go of its body.
            while cluster.metric(cluster.gateway, "vl2_gateway_held_body_bytes") != 1000:
                self.assertLess(time.monotonic(), deadline)
            held.sendall(b"{" * 898000)
            while cluster.metric(cluster.gateway, "vl2_gateway_held_body_bytes") != 899000:
                self.assertLess(time.monotonic(), deadline)
            time.sleep(1.5)
            # The one that has stopped sending makes room for one that sends.
            self.assertEqual(cluster.chat({**ask("Hi", max_tokens=2), "user": "x" * 700000})[0], 200)
            answer = b""
            while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
                received = held.recv(65536)
                self.assertTrue(received, answer)
                answer += received
            self.assertTrue(answer.startswith(b"HTTP/1.1 429"), answer)
            self.assertIn(b"Retry-After", answer)
            held.close()
            while cluster.metric(cluster.gateway, "vl2_gateway_held_body_bytes") != 0:
                self.assertLess(time.monotonic(), deadline)
            self.assertEqual(cluster.chat({**ask("Hi", max_tokens=2), "user": "x" * 700000})[0], 200)
        finally:
            self.assertEqual(cluster.stop(), [0, 0, 0])

    def test_services_of_different_models_are_not_joined(self):
        other = os.path.join(DATA, "checkpoints", "small_mla")
        cluster = Cluster(BIN, vision_flags=["--model=" + other], wait=False)
        self.addCleanup(cluster.stop)
        deadline = time.monotonic() + 20
        while b"no model has replicas of both" not in cluster.request("GET", "/readyz/pools")[2]:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        self.assertEqual(cluster.request("GET", "/readyz/pools")[0], 503)
        self.assertEqual(cluster.request("GET", "/readyz")[0], 200, "the gateway itself is well")
        status, answer = cluster.chat(ask(image_part("scene_640x480.png"), "Hi"))
        self.assertEqual(status, 503)
        self.assertIn("no model has replicas of both", answer["error"]["message"])
        self.assertEqual(cluster.chat(ask("Hi"))[0], 200, "text needs no vision service")


class FailoverTest(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(BIN, num_lm=2, num_vision=2)
        self.addCleanup(self.cluster.stop)

    def stream_with_loss(self, body, lose):
        """Chunks of an answer during which `lose` was called once, with the replica at work."""
        chunks = []
        lost = False
        for chunk in self.cluster.open_stream(body):
            chunks.append(chunk)
            if not lost and len(text_of(chunks)) > 20:
                lost = True
                lose(max(self.cluster.lm, key=lambda lm: self.cluster.running(lm)))
        self.assertTrue(lost)
        self.assertEqual(chunks[-1], "[DONE]")
        return chunks

    def test_two_samples_survive_a_loss(self):
        body = ask("Tell me.", max_tokens=500, temperature=1, seed=3, n=2)
        unbroken = self.cluster.stream(body)
        broken = self.stream_with_loss(body, lambda lm: lm.kill())
        for index in range(2):
            self.assertEqual(text_of(broken, index), text_of(unbroken, index))

    def test_the_same_replica_after_a_restart(self):
        self.cluster.lm.pop().kill()
        body = ask("Tell me.", max_tokens=500, temperature=1, seed=3)
        unbroken = text_of(self.cluster.stream(body))

        def restart(lm):
            lm.kill()
            self.cluster.lm = [self.cluster.start_lm(listen=lm.address)]

        self.assertEqual(text_of(self.stream_with_loss(body, restart)), unbroken)

    def test_lost_replicas_are_not_lost_answers(self):
        body = scene(max_tokens=400, temperature=1, seed=3)
        unbroken = text_of(self.cluster.stream(body))
        chunks = self.stream_with_loss(body, lambda lm: lm.kill())
        self.assertEqual(text_of(chunks), unbroken)
        self.assertIn("language replica lost", self.cluster.gateway.text())

        # The lost one is left out at once, and vision's loss is survived too.
        self.cluster.vision[0].kill()
        for _ in range(4):
            status, answer = self.cluster.chat(scene())
            self.assertEqual(status, 200, answer)
            self.assertEqual(answer["choices"][0]["message"]["content"], GOLDEN_SCENE)


if __name__ == "__main__":
    unittest.main(argv=sys.argv, verbosity=2, warnings="ignore")
