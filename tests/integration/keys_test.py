"""Keys over HTTP and gRPC: who may ask, how much, what tenants share, and a key file that changes.

Usage: keys_test.py BIN_FOLDER [unittest flags]
"""
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import CHECKPOINT, Cluster, Process, key_lines, wait_for  # noqa: E402
import grpc_protos  # noqa: E402

BIN = sys.argv.pop(1)
if not all(os.path.exists(os.path.join(BIN, name)) for name in ("lm_service", "vision_service", "gateway")):
    print("SKIPPED: the services are not built")
    sys.exit(77)
if not grpc_protos.MISSING:
    from grpc_protos import chat_pb2, chat_pb2_grpc, grpc, model_pb2  # noqa: E402
PATH = "/v1/chat/completions"


def ask(text, **more):
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, "ignore_eos": True, "max_tokens": 4,
            **more}


def bearer(key):
    return {"Authorization": "Bearer " + key} if key else {}


class KeysTest(unittest.TestCase):
    KEYS = [("alice", "a-key", "acme", "- - -"), ("anna", "a2-key", "acme", "- - -"),
            ("bob", "b-key", "other", "- - -"), ("root", "r-key", "operators", "- - - admin"),
            ("few", "f-key", "slow", "2 - -"), ("one", "o-key", "slow", "- 1 -"), ("thrifty", "t-key", "slow", "- - 10")]

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="vl2-keys")
        cls.path = os.path.join(cls.folder.name, "keys")
        cls.write(cls.KEYS)
        cls.cluster = Cluster(BIN, gateway_flags=["--api_keys=" + cls.path])
        if not grpc_protos.MISSING:
            cls.stub = chat_pb2_grpc.ChatServiceStub(grpc.insecure_channel(cls.cluster.grpc))

    @classmethod
    def tearDownClass(cls):
        codes = cls.cluster.stop()
        cls.folder.cleanup()
        assert codes == [0, 0, 0], codes

    @classmethod
    def write(cls, keys):
        """As a Secret's files change: another file takes the name."""
        with open(cls.path + ".new", "w") as file:
            file.write(key_lines(keys))
        os.replace(cls.path + ".new", cls.path)

    def http(self, key, body=None):
        return self.cluster.request("POST", PATH, body or ask("Hi"), bearer(key))

    @staticmethod
    def request(**more):
        request = chat_pb2.ChatRequest(max_new_tokens=4, **more)
        request.messages.add(role=chat_pb2.Message.ROLE_USER).parts.add().text = "Hi"
        return request

    def rpc(self, key, **more):
        """The code of a call's end, and its last event."""
        request = self.request(**more)
        metadata = [("authorization", "Bearer " + key)] if key else []
        try:
            return grpc.StatusCode.OK, list(self.stub.Chat(request, metadata=metadata, timeout=60))[-1]
        except grpc.RpcError as error:
            return error.code(), error.details()

    def needs_grpc(self):
        if grpc_protos.MISSING:
            self.skipTest(grpc_protos.MISSING)

    def test_a_key_is_needed(self):
        for key in ("", "wrong", "a-key-and-more"):
            status, headers, body = self.http(key)
            self.assertEqual((status, headers.get("WWW-Authenticate")), (401, "Bearer"), body)
        self.assertEqual(self.http("a-key")[0], 200)
        self.assertEqual(self.cluster.request("GET", "/v1/models")[0], 401)
        self.assertEqual(self.cluster.request("GET", "/v1/models", None, bearer("b-key"))[0], 200)
        for path in ("/livez", "/readyz", "/readyz/pools", "/"):
            self.assertEqual(self.cluster.request("GET", path)[0], 200, "probes and the page show none")

    def test_over_grpc_too(self):
        self.needs_grpc()
        for key in ("", "wrong"):
            self.assertEqual(self.rpc(key)[0], grpc.StatusCode.UNAUTHENTICATED)
        self.assertEqual(self.rpc("a-key")[0], grpc.StatusCode.OK)
        request = model_pb2.GetModelInfoRequest()
        with self.assertRaises(grpc.RpcError) as error:
            self.stub.GetModelInfo(request)
        self.assertEqual(error.exception.code(), grpc.StatusCode.UNAUTHENTICATED)
        self.stub.GetModelInfo(request, metadata=[("authorization", "Bearer a-key")])

    def test_addresses_are_for_admins(self):
        self.needs_grpc()
        request = chat_pb2.GetClusterInfoRequest()
        for key, code in (("", grpc.StatusCode.UNAUTHENTICATED), ("a-key", grpc.StatusCode.PERMISSION_DENIED)):
            with self.assertRaises(grpc.RpcError) as error:
                self.stub.GetClusterInfo(request, metadata=[("authorization", "Bearer " + key)] if key else [])
            self.assertEqual(error.exception.code(), code)
        told = self.stub.GetClusterInfo(request, metadata=[("authorization", "Bearer r-key")])
        self.assertEqual(len(told.language), 1)

    def test_errors_of_services_are_for_admins(self):
        gone = "127.0.0.1:1"
        gateway = Process(os.path.join(BIN, "gateway"), "--model=" + CHECKPOINT, "--lm=" + gone, "--vision=" + gone,
                          "--http_listen=127.0.0.1:0", "--grpc_listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0",
                          "--replica_wait_ms=0", "--api_keys=" + self.path)
        self.addCleanup(gateway.stop)
        for key, sees in (("a-key", False), ("r-key", True)):
            connection = http.client.HTTPConnection(gateway.address, timeout=60)
            self.addCleanup(connection.close)
            connection.request("POST", PATH, json.dumps(ask("Hi")), bearer(key))
            response = connection.getresponse()
            error = json.loads(response.read())["error"]
            self.assertEqual((response.status, error["code"]), (503, "no_replicas"))
            self.assertEqual(gone in error["message"], sees, error)
            if not grpc_protos.MISSING:
                stub = chat_pb2_grpc.ChatServiceStub(grpc.insecure_channel(gateway.fields[4]))
                for call in (lambda: list(stub.Chat(self.request(), metadata=[("authorization", "Bearer " + key)])),
                             lambda: stub.GetModelInfo(model_pb2.GetModelInfoRequest(),
                                                       metadata=[("authorization", "Bearer " + key)])):
                    with self.assertRaises(grpc.RpcError) as failed:
                        call()
                    self.assertEqual(failed.exception.code(), grpc.StatusCode.UNAVAILABLE)
                    self.assertEqual(gone in failed.exception.details(), sees)
                    details = grpc_protos.error_details(failed.exception)
                    self.assertEqual(details["ErrorInfo"].reason, "NO_REPLICAS")
                    self.assertEqual(details["RetryInfo"].retry_delay.seconds, 1)
        connection.request("GET", "/readyz/pools")
        response = connection.getresponse()
        self.assertEqual(response.status, 503)
        self.assertNotIn(gone, response.read().decode())
        self.assertIn(gone, gateway.text(), "the log has it")

    def test_grpc_errors_say_for_programs_what_they_are(self):
        self.needs_grpc()
        bad = self.request(sampling={"temperature": -1})
        with self.assertRaises(grpc.RpcError) as failed:
            list(self.stub.Chat(bad, metadata=[("authorization", "Bearer a-key")]))
        details = grpc_protos.error_details(failed.exception)
        self.assertEqual((details["ErrorInfo"].reason, details["ErrorInfo"].domain), ("INVALID_REQUEST", "vl2serve"))
        self.assertEqual(details["BadRequest"].field_violations[0].field, "temperature")
        self.assertNotIn("RetryInfo", details)
        with self.assertRaises(grpc.RpcError) as failed:
            list(self.stub.Chat(self.request(), metadata=[("authorization", "Bearer wrong")]))
        self.assertEqual(grpc_protos.error_details(failed.exception)["ErrorInfo"].reason, "INVALID_API_KEY")

    def test_the_client_shows_its_key(self):
        vl2 = os.path.join(BIN, "vl2")
        if not os.path.exists(vl2):
            self.skipTest("vl2 is not built")
        environment = {**os.environ, "VL2_SERVER": self.cluster.grpc}
        environment.pop("VL2_KEY", None)
        refused = subprocess.run([vl2, "info"], env=environment, capture_output=True, text=True)
        self.assertIn("API key", refused.stderr)
        for more, flags in (({"VL2_KEY": "r-key"}, []), ({}, ["--key=r-key"])):
            done = subprocess.run([vl2, "info", *flags], env={**environment, **more}, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_limits(self):
        self.assertEqual([self.http("f-key")[0] for _ in range(2)], [200, 200])
        status, headers, body = self.http("f-key")
        self.assertEqual(status, 429)
        self.assertIn("requests_per_min, which is 2", json.loads(body)["error"]["message"])
        self.assertGreater(int(headers["Retry-After"]), 10)
        if not grpc_protos.MISSING:
            self.assertEqual(self.rpc("f-key")[0], grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(self.http("t-key", ask("word " * 20))[0], 200)
        status, headers, body = self.http("t-key")
        self.assertEqual(status, 429)
        self.assertIn("tokens_per_min, which is 10", json.loads(body)["error"]["message"])

        connection = self.cluster.connect()
        connection.request("POST", PATH, json.dumps(ask("x", max_tokens=3000, stream=True)), bearer("o-key"))
        connection.getresponse().readline()
        status, _, body = self.http("o-key")
        self.assertEqual(status, 429)
        self.assertIn("concurrent, which is 1", json.loads(body)["error"]["message"])
        connection.close()
        wait_for(lambda: self.http("o-key")[0] == 200, 10, "its end is not noticed")
        for client, limit in (("few", "requests_per_min"), ("thrifty", "tokens_per_min"), ("one", "concurrent")):
            self.assertGreaterEqual(self.cluster.metric(
                self.cluster.gateway, 'vl2_gateway_limited_total{client="%s",limit="%s"}' % (client, limit)), 1)

    def test_tenants_share_no_prefix(self):
        body = ask("A long beginning that is worth keeping. " * 20)

        def cached(key):
            status, _, text = self.http(key, body)
            self.assertEqual(status, 200, text)
            return json.loads(text)["usage"]["prompt_tokens_details"]["cached_tokens"]

        self.assertEqual(cached("a-key"), 0)
        self.assertGreater(cached("a-key"), 0)
        self.assertGreater(cached("a2-key"), 0, "a key of the same tenant")
        self.assertEqual(cached("b-key"), 0, "another tenant")

    def test_requests_count_by_key(self):
        name = 'vl2_gateway_requests_total{api="http",client="bob",code="ok"}'
        before = self.cluster.metric(self.cluster.gateway, name)
        self.assertEqual(self.http("b-key")[0], 200)
        self.assertEqual(self.cluster.metric(self.cluster.gateway, name), before + 1)

    def test_the_file_may_change(self):
        failed, stop = [], threading.Event()

        def steady():
            while not stop.is_set():
                status, _, text = self.http("a-key")
                if status != 200:
                    failed.append((status, text))

        threads = [threading.Thread(target=steady) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for number in range(3):
                self.write([*self.KEYS, ("new", "new-key-%d" % number, "acme", "- - -")])
                wait_for(lambda: self.http("new-key-%d" % number)[0] == 200, 10, "the new key is not known")
            self.assertEqual(self.http("new-key-0")[0], 401, "a key that was taken away")
            self.write([("bad name", "x", "y", "- - -")])
            wait_for(lambda: self.cluster.metric(self.cluster.gateway, "vl2_gateway_key_reloads_failed_total") == 1, 10)
            time.sleep(0.2)
            self.assertEqual(self.http("new-key-2")[0], 200, "the keys of before stay")
        finally:
            self.write(self.KEYS)
            stop.set()
            for thread in threads:
                thread.join()
        wait_for(lambda: self.http("new-key-2")[0] == 401, 10)
        self.assertEqual(failed, [])


class PriorityTest(unittest.TestCase):
    """One sequence runs at a time, so that who goes first shows."""

    def test_a_higher_one_goes_first_and_the_lower_one_loses_nothing(self):
        with tempfile.NamedTemporaryFile("w", prefix="vl2-keys") as file:
            file.write(key_lines([("night", "n-key", "t", "- - - priority=-5"), ("day", "d-key", "t", "- - -")]))
            file.flush()
            cluster = Cluster(BIN, gateway_flags=["--api_keys=" + file.name], lm_flags=["--max_running=1"])
            self.addCleanup(lambda: self.assertEqual(cluster.stop(), [0, 0, 0]))
            body = ask("Count.", max_tokens=1500)
            status, _, undisturbed = cluster.request("POST", PATH, body, bearer("n-key"))
            self.assertEqual(status, 200)
            done = []

            def ask_as(key, **more):
                done.append((key, cluster.request("POST", PATH, {**body, **more}, bearer(key))))

            night = threading.Thread(target=ask_as, args=("n-key",))
            night.start()
            wait_for(lambda: cluster.metric(cluster.lm[0], 'vl2_language_sequences{state="decode"}') == 1, 30)
            ask_as("d-key", max_tokens=4)
            night.join()
            self.assertEqual([(key, answer[0]) for key, answer in done], [("d-key", 200), ("n-key", 200)])
            self.assertGreaterEqual(cluster.metric(cluster.lm[0], "vl2_language_preemptions_total"), 1)
            text = [json.loads(each)["choices"][0]["message"]["content"] for each in (undisturbed, done[1][1][2])]
            self.assertEqual(text[0], text[1])


if __name__ == "__main__":
    unittest.main(verbosity=2)
