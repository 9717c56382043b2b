"""Real processes on free ports for the integration tests: language, vision, gateway.

Needs nothing but Python's standard library.
"""
import base64
import http.client
import json
import os
import signal
import subprocess
import tempfile
import time

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = os.path.join(REPOSITORY, "tests", "golden", "data")
CHECKPOINT = os.path.join(DATA, "checkpoints", "tiny_mha")


class Process:
    """A service with a port file; `fields` are the words of its line."""

    def __init__(self, binary, *flags):
        self.name = os.path.basename(binary)
        self.folder = tempfile.TemporaryDirectory(prefix="vl2-" + self.name)
        port_file = os.path.join(self.folder.name, "ports")
        self.log_path = os.path.join(self.folder.name, "log")
        self.log = open(self.log_path, "w")
        self.process = subprocess.Popen(
            [binary, "--port_file=" + port_file, *flags],
            stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 120
        while not os.path.exists(port_file):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(self.name + " did not start:\n" + self.text())
            time.sleep(0.02)
        with open(port_file) as file:
            self.fields = file.read().split()
        self.address = self.fields[2]

    def text(self):
        with open(self.log_path) as file:
            return file.read()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def stop(self):
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        return self.process.returncode


class Cluster:
    """`model`: folder of the checkpoint; flags are the services' own."""

    def __init__(self, bin_folder, num_lm=1, num_vision=1, gateway_flags=(), vision_flags=(),
                 lm_flags=(), model=CHECKPOINT, wait=True):
        self.bin_folder = bin_folder
        self.model_flag = "--model=" + model
        self.lm = [self.start_lm(*lm_flags) for _ in range(num_lm)]
        targets = ",".join(lm.address for lm in self.lm)
        self.vision = [self.start_vision(targets, *vision_flags) for _ in range(num_vision)]
        self.gateway = Process(
            os.path.join(bin_folder, "gateway"), self.model_flag, "--lm=" + targets,
            "--vision=" + ",".join(vision.address for vision in self.vision),
            "--http_listen=127.0.0.1:0", "--grpc_listen=127.0.0.1:0",
            "--metrics_listen=127.0.0.1:0", *gateway_flags)
        self.http = self.gateway.address
        self.grpc = self.gateway.fields[4]
        self.metrics = self.gateway.fields[6]
        deadline = time.monotonic() + 60
        while wait and self.request("GET", "/readyz")[0] != 200:
            if time.monotonic() > deadline:
                raise RuntimeError("not ready: " + str(self.request("GET", "/readyz")))
            time.sleep(0.05)

    def start_lm(self, *flags, listen="127.0.0.1:0"):
        return Process(os.path.join(self.bin_folder, "lm_service"), self.model_flag,
                       "--listen=" + listen, "--metrics_listen=127.0.0.1:0", "--threads=1", *flags)

    def start_vision(self, targets, *flags, listen="127.0.0.1:0"):
        return Process(os.path.join(self.bin_folder, "vision_service"), self.model_flag,
                       "--listen=" + listen, "--metrics_listen=127.0.0.1:0",
                       "--lm_allow=" + targets, *flags)

    def stop(self):
        return [process.stop() for process in [self.gateway, *self.vision, *self.lm]]

    def connect(self):
        return http.client.HTTPConnection(self.http, timeout=120)

    def request(self, method, path, body=None, headers=None):
        """Status, headers and body of one exchange."""
        connection = self.connect()
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        result = response.status, dict(response.getheaders()), response.read()
        connection.close()
        return result

    def chat(self, body):
        status, _, text = self.request("POST", "/v1/chat/completions", body)
        return status, json.loads(text)

    def stream(self, body):
        """The chunks of a streamed answer; the last of the list is "[DONE]" or an error."""
        return list(self.open_stream(body))

    def open_stream(self, body):
        connection = self.connect()
        connection.request("POST", "/v1/chat/completions", json.dumps({**body, "stream": True}))
        response = connection.getresponse()
        if response.status != 200:
            raise AssertionError("HTTP %d: %s" % (response.status, response.read()))
        try:
            for line in response:
                line = line.decode().rstrip("\n")
                if line.startswith("data: "):
                    data = line[len("data: "):]
                    yield data if data == "[DONE]" else json.loads(data)
        finally:
            connection.close()

    def metric(self, process, name):
        """Sum of a metric's values over its labels."""
        connection = http.client.HTTPConnection(process.fields[process.fields.index("metrics") + 1])
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines
                   if line.split("{")[0].split(" ")[0] == name)


def bytes_part(data, **more):
    data = base64.b64encode(data).decode()
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + data}, **more}


def picture_part(path, **more):
    with open(path, "rb") as file:
        return bytes_part(file.read(), **more)


def image_part(name, **more):
    return picture_part(os.path.join(DATA, "images", name), **more)


def text_of(chunks, index=0):
    return "".join(choice["delta"].get("content") or ""
                   for chunk in chunks if isinstance(chunk, dict)
                   for choice in chunk.get("choices", []) if choice["index"] == index)
