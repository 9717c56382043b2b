"""The product as a client sees it: starts the services where none runs, asks over HTTP."""
import base64
import http.client
import io
import json
import os
import subprocess
import tempfile
import time
import urllib.parse
from typing import Dict, List, Optional

from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))


class Services:
    """The three services on free ports, stopped at the end of the `with`."""

    def __init__(self, model: str, bin_folder: str, weights: str = "auto"):
        self.model, self.bin, self.weights = model, bin_folder, weights
        self.folder = tempfile.TemporaryDirectory(prefix="vl2demo")
        self.running: List[subprocess.Popen] = []

    def _start(self, program: str, *flags: str) -> List[str]:
        ports = os.path.join(self.folder.name, program + ".ports")
        with open(os.path.join(self.folder.name, program + ".log"), "w") as log:
            process = subprocess.Popen(
                [os.path.join(self.bin, program), "--model=" + self.model, "--port_file=" + ports,
                 *flags], stdout=log, stderr=log)
        self.running.insert(0, process)
        while not (os.path.exists(ports) and os.path.getsize(ports)):
            if process.poll() is not None:
                with open(os.path.join(self.folder.name, program + ".log")) as log:
                    raise RuntimeError("%s did not start:\n%s" % (program, log.read()))
            time.sleep(0.05)
        with open(ports) as file:
            return file.read().split()

    def __enter__(self) -> str:
        any_port, metrics = "127.0.0.1:0", "--metrics_listen=127.0.0.1:0"
        weights = "--weights=" + self.weights
        lm = self._start("lm_service", "--listen=" + any_port, metrics, weights)[2]
        vision = self._start("vision_service", "--listen=" + any_port, metrics,
                             "--lm_allow=" + lm, weights)[2]
        http_address = self._start("gateway", "--lm=" + lm, "--vision=" + vision,
                                   "--http_listen=" + any_port, "--grpc_listen=" + any_port,
                                   metrics)[2]
        url = "http://" + http_address
        client = Client(url)
        deadline = time.monotonic() + 60
        while client.get("/readyz/pools")[0] != 200:
            if time.monotonic() > deadline:
                raise RuntimeError("the gateway at %s is not ready after 60 s" % url)
            time.sleep(0.1)
        return url

    def __exit__(self, *unused: object) -> None:
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait()
        self.folder.cleanup()


def picture_part(image: Image.Image) -> Dict:
    data = io.BytesIO()
    image.save(data, "PNG")
    url = "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


class Client:
    def __init__(self, url: str):
        self.server = urllib.parse.urlsplit(url).netloc
        self.model: Optional[str] = None

    def get(self, path: str):
        connection = http.client.HTTPConnection(self.server, timeout=60)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()

    def chat(self, messages: List[Dict], **fields: object) -> Dict:
        """The whole answer of one request; greedy unless `fields` say otherwise."""
        if self.model is None:
            self.model = json.loads(self.get("/v1/models")[1])["data"][0]["id"]
        body = {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": 300,
                "repetition_penalty": 1.0}
        body.update(fields)
        connection = http.client.HTTPConnection(self.server, timeout=600)
        connection.request("POST", "/v1/chat/completions", json.dumps(body),
                           {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise RuntimeError("HTTP %d: %s" % (response.status, text.decode()))
        return json.loads(text)

    def ask(self, pictures: List[Image.Image], questions: List[str], answers: List[str],
            **fields: object) -> Dict:
        """The last question; earlier ones with their answers come first as turns."""
        messages: List[Dict] = []
        for i, question in enumerate(questions):
            parts = [picture_part(p) for p in pictures] if i == 0 else []
            messages.append({"role": "user", "content": parts + [{"type": "text",
                                                                  "text": question}]})
            if i + 1 < len(questions):
                messages.append({"role": "assistant", "content": answers[i]})
        return self.chat(messages, **fields)
