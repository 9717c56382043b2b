"""The clients: a steady load over HTTP and gRPC, run in a namespace of its own.

Reads commands, one JSON object a line, from standard input; writes what happened in the same way:
{"done": kind, "ok": true, "text": ..., "seconds": ...}. Commands: {"start": workers, "pause_s": ...},
{"all": true}, {"stream": id, "max_tokens": N, "api": "http" or "grpc"}, {"pause": true or false}, {"stop": true}.
"""
import base64
import http.client
import json
import os
import random
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "tests", "integration"))
from cluster import png_of  # noqa: E402
from grpc_protos import chat_pb2, chat_pb2_grpc, grpc  # noqa: E402

QUESTIONS = 8  # of each kind, each with an answer of its own
KINDS = [api + "-" + what for api in ("http", "stream", "grpc") for what in ("text", "image")]
MAX_TOKENS = 24
BROKEN = ("Broken pipe", "Connection reset by peer")
output = threading.Lock()


def say(**event):
    with output:
        print(json.dumps(event), flush=True)


class Failed(Exception):
    pass


class HttpClient:
    """One connection, kept open. A connection that its server closed while it was idle is opened again,
    as every HTTP client does."""

    def __init__(self, address, headers):
        self.address = address
        self.headers = headers
        self.connection = None

    def open(self, body):
        for attempt in range(2):
            fresh = self.connection is None
            if fresh:
                self.connection = http.client.HTTPConnection(self.address, timeout=60)
            try:
                self.connection.request("POST", "/v1/chat/completions", json.dumps(body), self.headers)
                return self.connection.getresponse()
            except (ConnectionError, http.client.BadStatusLine):
                self.close()
                if fresh or attempt:
                    raise
        raise AssertionError("not reached")

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def ask(self, body):
        try:
            response = self.open(body)
            if response.status != 200:
                raise Failed("HTTP %d %s" % (response.status, response.read(300)))
            text = self.streamed(response) if body["stream"] else self.whole(response)
            if response.getheader("Connection", "").lower() == "close":
                self.close()
            return text
        except BaseException:
            self.close()
            raise

    @staticmethod
    def whole(response):
        return json.loads(response.read())["choices"][0]["message"]["content"]

    @staticmethod
    def streamed(response):
        text, done = "", False
        for line in response:
            line = line.decode().strip()
            if not line.startswith("data: "):
                continue
            if line == "data: [DONE]":
                done = True
                continue
            event = json.loads(line[len("data: "):])
            if "error" in event:
                raise Failed("%s%s" % (event["error"], "" if done else ", [DONE] followed"
                                       if b"data: [DONE]" in response.read() else ", no [DONE]"))
            text += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
        if not done:
            raise Failed("the stream ended without [DONE]")
        return text


class Clients:
    def __init__(self, address, http_port, grpc_port, api_key):
        self.http_address = "%s:%d" % (address, http_port)
        self.grpc_address = "%s:%d" % (address, grpc_port)
        self.headers = {"Content-Type": "application/json"}
        self.metadata = []
        if api_key:
            self.headers["Authorization"] = "Bearer " + api_key
            self.metadata.append(("authorization", "Bearer " + api_key))
        self.images = [png_of(96 + 8 * i, 80, 1000 + i) for i in range(QUESTIONS)]
        self.stopped, self.paused = threading.Event(), threading.Event()
        self.asking, self.busy = threading.Lock(), 0
        self.threads = []

    def pause(self, paused):
        """Says so when nobody asks any more."""
        if not paused:
            return self.paused.clear()
        self.paused.set()
        time.sleep(0.05)
        while self.busy:
            time.sleep(0.02)
        say(paused=True)

    def body(self, what, number, max_tokens=MAX_TOKENS, **more):
        content = [{"type": "text", "text": "Question %d of the topology check" % number}]
        if what == "image":
            data = base64.b64encode(self.images[number]).decode()
            content.insert(0, {"type": "image_url", "image_url": {"url": "data:image/png;base64," + data}})
        return {"messages": [{"role": "user", "content": content}], "temperature": 0, "ignore_eos": True,
                "max_tokens": max_tokens, "stream": False, **more}

    def ask_grpc(self, stub, what, number, max_tokens=MAX_TOKENS):
        request = chat_pb2.ChatRequest(max_new_tokens=max_tokens, ignore_end_token=True)
        request.sampling.temperature = 0
        message = request.messages.add(role=chat_pb2.Message.ROLE_USER)
        if what == "image":
            message.parts.add().image.data = self.images[number]
        message.parts.add().text = "Question %d of the topology check" % number
        text, ended = "", False
        try:
            for event in stub.Chat(request, timeout=60, metadata=self.metadata):
                text += event.text.text if event.HasField("text") else ""
                ended = ended or event.HasField("end")
        except grpc.RpcError as error:
            if text:  # a stream was cut; a call of which nothing came may have reached no server
                raise Failed("after %d characters: %s: %s" % (len(text), error.code().name, error.details()))
            raise
        if not ended:
            raise Failed("the call ended without its last event")
        return text

    def ask_grpc_again(self, stub, what, number, max_tokens=MAX_TOKENS):
        """gRPC's own client now and then begins a call on a connection that it has just been asked to leave,
        and tells of a broken pipe; no server hears of that call, and it may be made again."""
        try:
            return self.ask_grpc(stub, what, number, max_tokens)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE or error.details() not in BROKEN:
                raise
            say(again=error.details())
            return self.ask_grpc(stub, what, number, max_tokens)

    def worker(self, index, pause_s):
        random_number = random.Random(index)
        connection = HttpClient(self.http_address, self.headers)
        # A channel of its own: one that is kept for as long as the check runs.
        channel = grpc.insecure_channel(self.grpc_address, [("grpc.use_local_subchannel_pool", 1),
                                                            ("grpc.max_reconnect_backoff_ms", 1000)])
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        while not self.stopped.is_set():
            if self.paused.is_set():
                time.sleep(0.02)
                continue
            with self.asking:
                self.busy += 1
            self.one(random_number.choice(KINDS), random_number.randrange(QUESTIONS), connection, stub)
            with self.asking:
                self.busy -= 1
            if random_number.random() < 0.2:
                connection.close()
            self.stopped.wait(pause_s * random_number.uniform(0.5, 1.5))
        connection.close()

    def one(self, kind, number, connection, stub):
        api, what = kind.split("-")
        begin = time.monotonic()
        try:
            if api == "grpc":
                text = self.ask_grpc_again(stub, what, number)
            else:
                text = connection.ask(self.body(what, number, stream=api == "stream"))
            say(done=kind, number=number, ok=True, text=text, seconds=time.monotonic() - begin)
        except Exception as error:  # noqa: BLE001 - what a client sees
            say(done=kind, number=number, ok=False, error="%s: %s" % (type(error).__name__, str(error)[:400]),
                seconds=time.monotonic() - begin)

    def long_stream(self, name, api, what, max_tokens):
        begin = time.monotonic()
        try:
            if api == "grpc":
                stub = chat_pb2_grpc.ChatServiceStub(grpc.insecure_channel(
                    self.grpc_address, [("grpc.use_local_subchannel_pool", 1)]))
                text = self.ask_grpc_again(stub, what, 0, max_tokens)
            else:
                text = HttpClient(self.http_address, self.headers).ask(
                    self.body(what, 0, max_tokens, stream=True))
            say(stream=name, ok=True, text=text, seconds=time.monotonic() - begin)
        except Exception as error:  # noqa: BLE001
            say(stream=name, ok=False, error="%s: %s" % (type(error).__name__, str(error)[:400]),
                seconds=time.monotonic() - begin)

    def run(self):
        for line in sys.stdin:
            command = json.loads(line)
            if "start" in command:
                for index in range(command["start"]):
                    self.threads.append(threading.Thread(target=self.worker, daemon=True,
                                                         args=(index, command["pause_s"])))
                    self.threads[-1].start()
            elif "all" in command:  # every question once, one after another
                connection = HttpClient(self.http_address, self.headers)
                stub = chat_pb2_grpc.ChatServiceStub(grpc.insecure_channel(self.grpc_address))
                for kind in KINDS:
                    for number in range(QUESTIONS):
                        self.one(kind, number, connection, stub)
                connection.close()
                say(all=True)
            elif "stream" in command:
                threading.Thread(target=self.long_stream, daemon=True, args=(
                    command["stream"], command["api"], command["what"], command["max_tokens"])).start()
            elif "pause" in command:
                self.pause(command["pause"])
            elif "stop" in command:
                break
        self.stopped.set()
        for thread in self.threads:
            thread.join(70)
        say(stopped=True)


if __name__ == "__main__":
    Clients(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), os.environ.get("CHECK_API_KEY", "")).run()
