"""Malformed requests of every kind, while other clients' streams run: HTTP, JSON, images, protobuf.

Each is a valid one with something broken, drawn from its number. No service may end, no stream may
notice, nothing may be left behind, and no client's mistake may be called the server's.

Usage: malformed_test.py BIN_FOLDER [--gateway=FILE] [--rounds=N] [unittest flags]
--gateway: another build of the gateway, such as one with AddressSanitizer.
"""
import base64
import collections
import json
import os
import random
import socket
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import DATA, Cluster, flag, png_of, run_all, wait_for  # noqa: E402
import grpc_protos  # noqa: E402
from steady_streams import SteadyStreams  # noqa: E402

BIN = sys.argv.pop(1)
GATEWAY = flag(sys.argv, "gateway", "")
ROUNDS = int(flag(sys.argv, "rounds", "1000"))
if not all(os.path.exists(os.path.join(BIN, name)) for name in ("lm_service", "vision_service", "gateway")):
    print("SKIPPED: the services are not built")
    sys.exit(77)
if grpc_protos.MISSING:
    print("SKIPPED: " + grpc_protos.MISSING)
    sys.exit(77)
from grpc_protos import chat_pb2, grpc, language_pb2, vision_pb2  # noqa: E402


def read(*path):
    with open(os.path.join(DATA, *path), "rb") as file:
        return file.read()


def gif():
    return (b"GIF89a\x10\x00\x10\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff\x21\xf9\x04\x00\x00\x00\x00\x00"
            b"\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00\x3b")


IMAGES = [png_of(64, 48, 1), read("jpeg", "baseline420.jpg"), read("jpeg", "progressive420.jpg"), gif(),
          read("jpeg", "gray.jpg")]
SPECIAL = [b"\x00", b"\xff", b"\x7f", b"\x80", b"\r\n", b'"', b"{", b"[", b"\\u0000", b"\\ud800", b"-1",
           b"1e999", b"99999999999999999999", b"null", b"true", b"<image>", b":", b",", b"%", b"\xc3\x28"]


def mutated(data, draw):
    """A few bytes changed, taken away, repeated or put in."""
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5, 20])):
        at = draw.randrange(len(data) + 1)
        what = draw.randrange(6)
        if what == 0 and at < len(data):
            data[at] = draw.randrange(256)
        elif what == 1:
            del data[at:at + draw.choice([1, 2, 10, 1000])]
        elif what == 2:
            data[at:at] = data[at:at + draw.choice([1, 4, 100])] * draw.choice([1, 2, 50])
        elif what == 3:
            data[at:at] = draw.choice(SPECIAL) * draw.choice([1, 1, 3])
        elif what == 4:
            data[at:at] = draw.randbytes(draw.choice([1, 4, 64]))
        elif at < len(data):
            data[at] ^= 1 << draw.randrange(8)
    return bytes(data)


def image_part(data):
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(data).decode()}}


def ask(*parts, **more):
    return {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": list(parts)}],
            "max_tokens": 2, "temperature": 0.5, "top_p": 0.9, "n": 1, "stop": ["x"], "seed": 7, "stream": False,
            "logit_bias": {"5": 1}, **more}


TEXT = {"type": "text", "text": "What is it?"}
IDENTITY = lambda value: value  # noqa: E731 - bytes go and come as they are


class MalformedTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(BIN, gateway_binary=GATEWAY or None, gateway_flags=["--request_timeout_ms=20000"])
        cls.address = tuple(cls.cluster.http.split(":"))
        cls.seen = collections.Counter()

    @classmethod
    def tearDownClass(cls):
        logs = {process.name: process.text() for process in cls.cluster.processes()}
        codes = cls.cluster.stop()
        assert codes == [0, 0, 0], (codes, {name: log[-3000:] for name, log in logs.items()})
        for name, log in logs.items():
            assert "exception" not in log, (name, log[-3000:])

    def count(self, kind, result):
        self.seen[kind, result] += 1

    def raw(self, data, patience):
        """The status of the answer; 0 when there is none."""
        with socket.create_connection(self.address, timeout=30) as client:
            try:
                client.sendall(data)
                client.settimeout(patience)
                head = client.recv(4096)
            except OSError:
                return 0
            return int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/1.") else 0

    def post(self, body):
        return self.raw(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                        b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body, 30)

    def one_http(self, draw):
        body = json.dumps(ask(TEXT)).encode()
        head = draw.choice([
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body,
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
            b"GET /v1/models/x?y=%20 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
            b"OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: x\r\nOrigin: http://a.b\r\n"
            b"Access-Control-Request-Method: POST\r\n\r\n"])
        self.count("http", self.raw(mutated(head, draw), 0.5))

    def one_json(self, draw):
        self.count("json", self.post(mutated(json.dumps(ask(TEXT)).encode(), draw)))

    def one_image(self, draw):
        part = image_part(mutated(draw.choice(IMAGES), draw))
        self.count("image", self.post(json.dumps(ask(part, TEXT, stream=draw.random() < 0.3)).encode()))

    def call(self, kind, address, method, messages):
        """One call with raw messages; the code it ends with."""
        with grpc.insecure_channel(address) as channel:
            if method.endswith("/Chat") or method.endswith("/Generate"):
                answers = channel.unary_stream(method, IDENTITY, IDENTITY)(messages[0], timeout=2)
            else:
                answers = channel.stream_stream(method, IDENTITY, IDENTITY)(iter(messages), timeout=2)
            try:
                for _ in answers:
                    pass
                code = grpc.StatusCode.OK
            except grpc.RpcError as error:
                code = error.code()
                # What is no message at all never reaches a model service: the library refuses it, with
                # this code and without a word.
                if code == grpc.StatusCode.UNIMPLEMENTED and not error.details():
                    code = "not parsed"
        self.count(kind, code)

    def one_chat_call(self, draw):
        request = chat_pb2.ChatRequest(max_new_tokens=2)
        request.sampling.seed = 7
        message = request.messages.add(role=chat_pb2.Message.ROLE_USER)
        message.parts.add().text = "What is it?"
        message.parts.add().image.data = draw.choice(IMAGES)
        self.call("Chat", self.cluster.grpc, "/vl2.v1.ChatService/Chat", [mutated(request.SerializeToString(), draw)])

    def one_generate_call(self, draw):
        request = language_pb2.GenerateRequest(max_new_tokens=2, request_id="x", client_id="y", image_token_id=3)
        request.segments.add().tokens.ids.extend([1, 2, 3, 4])
        request.sampling.temperature = 0.5
        request.sampling.logit_bias[3] = 1.0
        if draw.random() < 0.3:
            request.segments.add().image.num_embeddings = 4
        self.call("Generate", self.cluster.lm[0].address, "/vl2.v1.LanguageService/Generate",
                  [mutated(request.SerializeToString(), draw)])

    def one_upload_call(self, draw):
        header = language_pb2.UploadRequest()
        header.header.model_id = "x"
        header.header.sequence_id = draw.randrange(5)
        header.header.upload_token = "token"
        chunk = language_pb2.UploadRequest()
        chunk.chunk.num_embeddings = 1
        chunk.chunk.data = bytes(64)
        messages = [header.SerializeToString(), chunk.SerializeToString()]
        at = draw.randrange(2)
        messages[at] = mutated(messages[at], draw)
        self.call("UploadEmbeddings", self.cluster.lm[0].address, "/vl2.v1.LanguageService/UploadEmbeddings", messages)

    def one_encode_call(self, draw):
        data = draw.choice(IMAGES)
        header = vision_pb2.EncodeRequest()
        header.header.total_bytes = len(data)
        header.header.tiling.max_tiles = 2
        start = vision_pb2.EncodeRequest()
        start.start.return_to_caller.SetInParent()
        end = vision_pb2.EncodeRequest()
        end.end_of_image.SetInParent()
        messages = [message.SerializeToString() for message in
                    (header, vision_pb2.EncodeRequest(chunk=data), end, start)]
        at = draw.randrange(4)
        messages[at] = mutated(messages[at], draw)
        if draw.random() < 0.2:
            draw.shuffle(messages)
        self.call("Encode", self.cluster.vision[0].address, "/vl2.v1.VisionService/Encode", messages)

    def test_nothing_ends_and_nobody_notices(self):
        kinds = [self.one_http, self.one_json, self.one_image, self.one_chat_call, self.one_generate_call,
                 self.one_upload_call, self.one_encode_call]

        def run(first):
            for number in range(first, ROUNDS, 4):
                draw = random.Random(number)
                kinds[number % len(kinds)](draw)
                for process in self.cluster.processes():
                    if process.process.poll() is not None:
                        raise AssertionError("%s ended in round %d: %s" % (process.name, number, process.text()[-3000:]))

        image = image_part(IMAGES[0])
        with SteadyStreams(self.cluster, max_tokens=20, image=image) as streams:
            run_all([lambda first=first: run(first) for first in range(4)])
        for (kind, result), count in sorted(self.seen.items(), key=str):
            print("%-17s %-40s %6d" % (kind, result, count))
        print("%d malformed requests, %d answers streamed, the slowest in %.1f s"
              % (ROUNDS, streams.answers, streams.slowest))
        wrong = [(kind, result) for kind, result in self.seen
                 if (isinstance(result, int) and result >= 500) or (isinstance(result, str) and result != "not parsed")
                 or result in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED,
                            grpc.StatusCode.INTERNAL)]
        self.assertEqual(wrong, [])
        self.cluster.assert_idle(30)
        for name in ("vl2_gateway_held_body_bytes", "vl2_gateway_connections", "vl2_gateway_in_flight"):
            wait_for(lambda name=name: self.cluster.metric(self.cluster.gateway, name) == 0, 20, name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
