"""What the three services export, after a load of every kind, against deploy/observe/metrics.json.

Usage: metrics_test.py BIN_FOLDER [--write] [unittest flags]; --write makes the file anew.
"""
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from certificates import Services  # noqa: E402
from cluster import REPOSITORY, Cluster, image_part, png_of, wait_for  # noqa: E402
import grpc_protos  # noqa: E402

BIN = sys.argv.pop(1)
WRITE = "--write" in sys.argv and sys.argv.remove("--write") is None
if not all(os.path.exists(os.path.join(BIN, name)) for name in ("lm_service", "vision_service", "gateway")):
    print("SKIPPED: the services are not built")
    sys.exit(77)
CATALOGUE = os.path.join(REPOSITORY, "deploy", "observe", "metrics.json")
# Gauges of what piles up, by their names.
QUEUE = ("^vl2_.*(_queue|_queued|_bytes|_in_flight|_connections|_sequences|_held_images|_lookups"
         "|_waiting_for_replicas)$")
# idle_connections are connections; commands_queued holds a few commands for each sequence, and uploads
# for pending_upload_bytes, which have limits.
LIMITED_OTHERWISE = ("vl2_gateway_idle_connections", "vl2_language_commands_queued")
SERVICES = {"gateway": "gateway", "language": "lm_service", "vision": "vision_service"}


def ask(*content, **more):
    parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    return {"messages": [{"role": "user", "content": parts}], "temperature": 0, "ignore_eos": True,
            "max_tokens": 8, **more}


def scrape(process):
    connection = http.client.HTTPConnection(process.fields[process.fields.index("metrics") + 1])
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def families(text):
    """{name: (type, help, labels, number of samples)}"""
    found = {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, _, words = line[len("# HELP "):].partition(" ")
            found[name] = {"name": name, "help": words, "labels": set(), "samples": 0}
        elif line.startswith("# TYPE "):
            name, kind = line[len("# TYPE "):].split()
            found[name]["type"] = kind
        elif line:
            sample = re.match(r"([a-zA-Z0-9_:]+)(?:\{(.*)\})? ", line)
            name = sample[1]
            if name not in found:
                name = re.sub("_(bucket|sum|count)$", "", name)
            labels = set(re.findall(r'([a-z_]+)="', sample[2] or "")) - {"le"}
            found[name]["labels"] |= labels
            found[name]["samples"] += 1
    return found


class MetricsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="vl2-metrics")
        services = Services(cls.folder.name)  # with them certificates are told of, too
        cls.cluster = Cluster(BIN, gateway_flags=services.flags("gateway"), vision_flags=services.flags("vision"),
                              lm_flags=services.flags("language"))
        cls.load()
        cls.texts = {service: scrape(next(process for process in cls.cluster.processes()
                                          if process.name == binary))
                     for service, binary in SERVICES.items()}

    @classmethod
    def tearDownClass(cls):
        cls.cluster.kill()
        cls.folder.cleanup()

    @classmethod
    def load(cls):
        """Text and images, over HTTP and gRPC; a refusal, a request that its client leaves."""
        cluster = cls.cluster
        cluster.chat(ask("Hi"))
        cluster.chat(ask(image_part("scene_640x480.png"), "What is it?"))
        cluster.chat(ask(image_part("scene_640x480.png"), "What is it, again?"))
        cluster.stream(ask("Count.", max_tokens=50))
        cluster.chat(ask("Hi", temperature=-1))
        left = cluster.open_stream(ask("A long one", max_tokens=3000))
        next(left)
        left.close()
        if not grpc_protos.MISSING:
            chat_pb2, grpc = grpc_protos.chat_pb2, grpc_protos.grpc
            stub = grpc_protos.chat_pb2_grpc.ChatServiceStub(grpc.insecure_channel(cluster.grpc))
            request = chat_pb2.ChatRequest(max_new_tokens=5)
            message = request.messages.add(role=chat_pb2.Message.ROLE_USER)
            message.parts.add().image.data = png_of(64, 64, 3)
            message.parts.add().text = "Hi"
            list(stub.Chat(request))
        cluster.assert_idle()

    def metric(self, service, sample):
        for line in self.texts[service].splitlines():
            if line.startswith(sample + " "):
                return float(line.rsplit(" ", 1)[1])
        self.fail("%s does not export %s" % (service, sample))

    def test_the_catalogue_is_what_is_exported(self):
        exported = []
        for service, text in self.texts.items():
            for name, family in sorted(families(text).items()):
                self.assertGreater(family["samples"], 0, name)
                exported.append({"name": name, "service": service, "type": family["type"],
                                 "labels": sorted(family["labels"]), "help": family["help"]})
        if WRITE:
            with open(CATALOGUE, "w") as file:
                file.write("[\n" + ",\n".join(json.dumps(each) for each in exported) + "\n]\n")
        with open(CATALOGUE) as file:
            listed = json.load(file)
        key = lambda each: (each["service"], each["name"])  # noqa: E731
        self.assertEqual(set(map(key, exported)) - set(map(key, listed)), set(), "not in metrics.json")
        self.assertEqual(set(map(key, listed)) - set(map(key, exported)), set(), "not exported")
        self.assertEqual(exported, listed)

    def test_promtool_finds_nothing(self):
        promtool = shutil.which("promtool")
        if promtool is None:
            self.skipTest("promtool is not there")
        for service, text in self.texts.items():
            done = subprocess.run([promtool, "check", "metrics"], input=text, text=True, capture_output=True)
            self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""), service)

    def test_every_queue_has_a_limit(self):
        for service, text in self.texts.items():
            names = families(text)
            for name in names:
                if name.endswith("_limit"):
                    self.assertIn(name[:-len("_limit")], names, service)
                if re.search(QUEUE, name) and name not in LIMITED_OTHERWISE:
                    self.assertIn(name + "_limit", list(names), service)

    def test_what_is_counted(self):
        self.assertEqual(self.metric("gateway", 'vl2_gateway_requests_total{api="http",client="-",code="ok"}'), 4)
        self.assertEqual(self.metric(
            "gateway", 'vl2_gateway_requests_total{api="http",client="-",code="invalid_argument"}'), 1)
        self.assertEqual(self.metric(
            "gateway", 'vl2_gateway_requests_total{api="http",client="-",code="cancelled"}'), 1)
        images = 2
        if not grpc_protos.MISSING:
            images += 1
            self.assertEqual(self.metric(
                "gateway", 'vl2_gateway_requests_total{api="grpc",client="-",code="ok"}'), 1)
        self.assertEqual(self.metric("gateway", "vl2_gateway_images_total"), images)
        self.assertEqual(self.metric("gateway", 'vl2_gateway_cancelled_total{stage="decode"}'), 1)
        self.assertEqual(self.metric("language", 'vl2_language_cancelled_total{stage="decode"}'), 1)
        # Tokens that come together leave in one event: at most one gap a token, and some.
        gaps = self.metric("gateway", "vl2_gateway_inter_token_seconds_count")
        self.assertGreater(gaps, 0)
        self.assertLess(gaps, self.metric("gateway", 'vl2_gateway_tokens_total{kind="completion"}'))
        self.assertGreater(self.metric("vision", "vl2_vision_tiles_per_second"), 0)
        self.assertEqual(self.metric("vision", "vl2_vision_encode_seconds_count"), images - 1)
        self.assertEqual(self.metric("vision", 'vl2_vision_cache_requests_total{result="hit"}'), 1)
        self.assertEqual(self.metric("language", 'vl2_language_uploads_total{code="ok"}'),
                         self.metric("vision", 'vl2_vision_uploads_total{code="ok"}'))

    def test_a_service_says_that_it_drains(self):
        cluster = Cluster(BIN, gateway_flags=["--probe_interval_ms=50"])
        self.addCleanup(cluster.kill)
        stream = cluster.open_stream(ask("A long one", max_tokens=3500))
        next(stream)
        reader = threading.Thread(target=lambda: list(stream))
        reader.start()
        cluster.lm[0].process.terminate()
        draining = 'vl2_gateway_replicas{service="language",state="draining"}'
        wait_for(lambda: cluster.metric(cluster.gateway, draining) == 1, 10, "the gateway does not hear of it")
        self.assertEqual(cluster.metric(cluster.lm[0], "vl2_draining"), 1)
        reader.join(60)
        self.assertEqual(cluster.lm[0].process.wait(20), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
