"""Real processes on free ports for the integration tests: language, vision, gateway.

Needs nothing but Python's standard library.
"""
import base64
import hashlib
import http.client
import json
import os
import random
import signal
import struct
import subprocess
import tempfile
import threading
import time
import zlib

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
                 lm_flags=(), model=CHECKPOINT, wait=True, gateway_binary=None):
        self.bin_folder = bin_folder
        self.model_flag = "--model=" + model
        self.lm = [self.start_lm(*lm_flags) for _ in range(num_lm)]
        targets = ",".join(lm.address for lm in self.lm)
        self.vision = [self.start_vision(targets, *vision_flags) for _ in range(num_vision)]
        self.gateway = Process(
            gateway_binary or os.path.join(bin_folder, "gateway"), self.model_flag, "--lm=" + targets,
            "--vision=" + ",".join(vision.address for vision in self.vision),
            "--http_listen=127.0.0.1:0", "--grpc_listen=127.0.0.1:0",
            "--metrics_listen=127.0.0.1:0", *gateway_flags)
        self.http = self.gateway.address
        self.grpc = self.gateway.fields[4]
        self.metrics = self.gateway.fields[6]
        deadline = time.monotonic() + 60
        while wait and self.request("GET", "/readyz/pools")[0] != 200:
            if time.monotonic() > deadline:
                raise RuntimeError("not ready: " + str(self.request("GET", "/readyz/pools")))
            time.sleep(0.05)

    def start_lm(self, *flags, listen="127.0.0.1:0"):
        return Process(os.path.join(self.bin_folder, "lm_service"), self.model_flag,
                       "--listen=" + listen, "--metrics_listen=127.0.0.1:0", "--threads=1", *flags)

    def start_vision(self, targets, *flags, listen="127.0.0.1:0"):
        return Process(os.path.join(self.bin_folder, "vision_service"), self.model_flag,
                       "--listen=" + listen, "--metrics_listen=127.0.0.1:0",
                       "--lm_allow=" + targets, *flags)

    def processes(self):
        return [self.gateway, *self.vision, *self.lm]

    def stop(self):
        """All exit statuses; at once, since each takes a moment to close its metrics port."""
        threads = [threading.Thread(target=process.stop) for process in self.processes()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [process.process.returncode for process in self.processes()]

    def kill(self):
        """Quicker than stop(); which it is when VL2_STOP_GENTLY is set (for leak checks)."""
        if os.environ.get("VL2_STOP_GENTLY"):
            return self.stop()
        for process in self.processes():
            process.kill()

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

    # What a service holds for requests: nothing, when there are none.
    HELD = {
        "gateway": ("vl2_gateway_upstream_calls", "vl2_gateway_in_flight"),
        "vision_service": ("vl2_vision_tiles_queued", "vl2_vision_held_images",
                           "vl2_vision_held_bytes", "vl2_vision_encodings", "vl2_vision_clients",
                           "vl2_vision_header_queue", "vl2_vision_decode_queue",
                           "vl2_vision_decoding_bytes"),
        "lm_service": ("vl2_language_sequences", 'vl2_language_cache_blocks{state="used"}',
                       "vl2_language_embedding_bytes"),
    }

    def held(self):
        """{(service, metric): value} of all that is not zero, of the processes that run."""
        held = {}
        for process in self.processes():
            if process.process.poll() is not None:
                continue
            for name in self.HELD[process.name]:
                value = self.metric(process, name)
                if value != 0:
                    held[process.name, process.address, name] = value
        return held

    def assert_idle(self, seconds=10):
        wait_for(lambda: not self.held(), seconds, lambda: "still held: %s" % self.held())

    def running(self, lm):
        """Sequences that a language service has admitted."""
        return self.metric(lm, "vl2_language_sequences") - self.metric(lm, 'vl2_language_sequences{state="waiting"}')

    def metric(self, process, name):
        """Sum of a metric's values over its labels, or over those that begin as in 'name{label="value"'."""
        connection = http.client.HTTPConnection(process.fields[process.fields.index("metrics") + 1])
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        family, _, labels = name.rstrip("}").partition("{")
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines
                   if line.split("{")[0].split(" ")[0] == family and labels in line)


def key_lines(keys):
    """Of (name, key, tenant, "limits and more")."""
    return "".join("%s %s %s %s\n" % (name, hashlib.sha256(key.encode()).hexdigest(), tenant, limits)
                   for name, key, tenant, limits in keys)


def key_file(keys):
    """A file for --api_keys, open."""
    file = tempfile.NamedTemporaryFile("w", prefix="vl2-keys")
    file.write(key_lines(keys))
    file.flush()
    return file


def flag(arguments, name, default):
    """The value of --NAME=VALUE, which is taken out of the arguments."""
    for argument in arguments[1:]:
        if argument.startswith("--%s=" % name):
            arguments.remove(argument)
            return argument.split("=", 1)[1]
    return default


def wait_for(condition, seconds, what="it did not happen"):
    """The first true value of condition()."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("after %g s: %s" % (seconds, what() if callable(what) else what))
        time.sleep(0.005)


def run_all(calls):
    """Results of functions that run at the same time, in order; the first exception is raised."""
    results = [None] * len(calls)
    errors = []

    def run(index, call):
        try:
            results[index] = call()
        except BaseException as error:  # noqa: BLE001 - told to the caller
            errors.append(error)

    threads = [threading.Thread(target=run, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def png_of(width, height, seed):
    """A PNG of coloured blocks that no other seed has."""
    colours = random.Random(seed)
    rows = []
    for top in range(0, height, 32):
        row = b"".join(colours.randbytes(3) * min(32, width - left)
                       for left in range(0, width, 32))
        rows += [b"\0" + row] * min(32, height - top)
    return png_file(width, height, zlib.compress(b"".join(rows), 1))


def png_file(width, height, data):
    def chunk(kind, body):
        return (struct.pack(">I", len(body)) + kind + body
                + struct.pack(">I", zlib.crc32(kind + body)))

    return (b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", data) + chunk(b"IEND", b""))


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
