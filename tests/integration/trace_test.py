"""Traces over OTLP and lines in the logs: one request is one tree of spans over three services, one id in
all logs, and nothing that a client wrote is in any of them.

The collector is a small one that checks each body strictly against OTLP's JSON form. With VL2_COLLECTOR, the path of
a real one (deploy/check trace), that stands before it, and what is checked is what the real one has understood.

Usage: trace_test.py BIN_FOLDER [unittest flags]
"""
import collections
import http.server
import json
import os
import re
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, bytes_part, key_file, png_of, text_of, wait_for  # noqa: E402
import grpc_protos  # noqa: E402
import real_collector  # noqa: E402

BIN = sys.argv.pop(1)
if not all(os.path.exists(os.path.join(BIN, name)) for name in ("lm_service", "vision_service", "gateway")):
    print("SKIPPED: the services are not built")
    sys.exit(77)
MARKER = "zq7marker"
REAL = os.environ.get("VL2_COLLECTOR")
SPAN_FIELDS = {"traceId", "spanId", "parentSpanId", "flags", "name", "kind", "startTimeUnixNano", "endTimeUnixNano",
               "attributes", "events", "links", "status", "droppedAttributesCount", "droppedEventsCount",
               "droppedLinksCount"}


def attributes(items):
    found = {}
    for item in items:
        assert set(item) == {"key", "value"} and len(item["value"]) == 1, item
        (kind, value), = item["value"].items()
        assert isinstance(value, {"stringValue": str, "intValue": str, "boolValue": bool,
                                  "doubleValue": (int, float)}[kind]), item
        found[item["key"]] = int(value) if kind == "intValue" else value
    return found


def nanos(text):
    assert re.fullmatch(r"[1-9]\d{18}", text), text
    return int(text)


class Collector:
    def __init__(self):
        self.spans, self.errors = [], []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # noqa: N802
                body = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    assert self.path == "/v1/traces" and self.headers["Content-Type"] == "application/json"
                    collector.take(json.loads(body))
                except Exception as error:  # noqa: BLE001 - told by the test
                    collector.errors.append(repr(error))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.endpoint = "http://127.0.0.1:%d" % self.server.server_port
        self.real = real_collector.RealCollector(REAL, self.endpoint) if REAL else None
        if self.real:
            self.endpoint = self.real.endpoint

    def stop(self):
        if self.real:
            self.real.stop()
        self.server.shutdown()
        self.server.server_close()

    def take(self, request):
        assert set(request) == {"resourceSpans"}
        for resource in request["resourceSpans"]:
            assert set(resource) == {"resource", "scopeSpans"}
            source = attributes(resource["resource"]["attributes"])
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    self.spans.append(self.checked(span, source["service.name"]))

    def checked(self, span, service):
        if REAL:  # it writes some empty values and leaves others out
            span = {"attributes": [], **{key: value for key, value in span.items() if value not in ("", {})}}
        assert set(span) <= SPAN_FIELDS, set(span) - SPAN_FIELDS
        assert re.fullmatch("[0-9a-f]{32}", span["traceId"]) and re.fullmatch("[0-9a-f]{16}", span["spanId"])
        assert re.fullmatch("[0-9a-f]{16}", span.get("parentSpanId", "0" * 16))
        assert span["kind"] in (1, 2, 3) and span.get("status", {"code": 2}) == {"code": 2}
        begin, end = nanos(span["startTimeUnixNano"]), nanos(span["endTimeUnixNano"])
        assert begin <= end
        for event in span.get("events", []):
            assert begin <= nanos(event["timeUnixNano"]), event
            attributes(event.get("attributes", []))
        return {**span, "service": service, "begin": begin, "end": end, "attributes": attributes(span["attributes"])}

    def tree(self, trace, wanted):
        """All spans of a trace, when `wanted` names are among them."""
        def complete():
            spans = [span for span in list(self.spans) if span["traceId"] == trace]
            names = collections.Counter(span["name"] for span in spans)
            return spans if all(names[name] >= count for name, count in wanted.items()) else None
        spans = wait_for(complete, 15, lambda: "spans are %s" % collections.Counter(
            span["name"] for span in self.spans if span["traceId"] == trace))
        assert not self.errors, self.errors
        return spans


def ask(*content, **more):
    parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    return {"messages": [{"role": "user", "content": parts}], "temperature": 0, "ignore_eos": True,
            "max_tokens": 8, **more}


class TraceTest(unittest.TestCase):
    TRACE, CLIENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

    def collector(self):
        collector = Collector()
        self.addCleanup(collector.stop)
        return collector

    def start(self, *more, **options):
        flags = ["--trace_ratio=0", *more]
        options.setdefault("gateway_flags", [])
        options["gateway_flags"] = [*options["gateway_flags"], *flags]
        cluster = Cluster(BIN, lm_flags=flags, vision_flags=[*flags, *options.pop("vision_flags", [])], **options)
        self.addCleanup(cluster.kill)
        return cluster

    def post(self, cluster, body, trace, **headers):
        return cluster.request("POST", "/v1/chat/completions", body, {
            "traceparent": "00-%s-%s-01" % (trace, self.CLIENT), **headers})

    def check_tree(self, spans, name="POST /v1/chat/completions"):
        by_id = {span["spanId"]: span for span in spans}
        self.assertEqual(len(by_id), len(spans))
        roots = [span for span in spans if span["parentSpanId"] not in by_id]
        self.assertEqual([(root["name"], root["parentSpanId"]) for root in roots],
                         [(name, self.CLIENT)])
        for span in spans:
            parent = by_id.get(span["parentSpanId"])
            if parent is None:
                continue
            self.assertGreaterEqual(span["begin"], parent["begin"], (span["name"], parent["name"]))
            if parent["service"] == span["service"]:
                self.assertLessEqual(span["end"], parent["end"], (span["name"], parent["name"]))
        return by_id

    def test_an_image_request_is_one_tree(self):
        collector = self.collector()
        cluster = self.start("--otlp_endpoint=" + collector.endpoint)
        image = bytes_part(png_of(300, 300, 1), tiling={"tiles_wide": 2, "tiles_high": 3})
        status, headers, _ = self.post(cluster, ask(image, "What is it?"), self.TRACE, **{"X-Request-Id": "mine-1"})
        self.assertEqual((status, headers["X-Request-Id"]), (200, "mine-1"))
        spans = collector.tree(self.TRACE, {
            "POST /v1/chat/completions": 1, "tokenize": 1, "vl2.v1.VisionService/Encode": 2, "decode": 2, "tile": 1,
            "encode row": 3, "encode global view": 1, "vl2.v1.LanguageService/UploadEmbeddings": 2,
            "vl2.v1.LanguageService/Generate": 2, "queue": 1, "await embeddings": 1, "prefill chunk": 1})
        by_id = self.check_tree(spans)
        self.assertEqual({span["service"] for span in spans}, {"vl2-gateway", "vl2-vision", "vl2-language"})
        chat = next(span for span in spans if span["name"].startswith("chat "))
        self.assertEqual(chat["attributes"]["gen_ai.operation.name"], "chat")
        self.assertEqual(chat["attributes"]["gen_ai.usage.output_tokens"], 8)
        self.assertEqual((chat["attributes"]["vl2.images"], chat["attributes"]["vl2.tiles"]), (1, 7))
        rows = [span for span in spans if span["name"] == "encode row"]
        self.assertEqual([row["attributes"]["vl2.row"] for row in sorted(rows, key=lambda row: row["begin"])], [0, 1, 2])
        for row in rows:
            self.assertEqual(row["attributes"]["vl2.tiles"], 2)
            self.assertGreaterEqual(row["attributes"]["vl2.wait_ms"], 0)
            self.assertEqual(by_id[row["parentSpanId"]]["name"], "vl2.v1.VisionService/Encode")
        chunks = [span for span in spans if span["name"] == "prefill chunk"]
        self.assertEqual(sum(chunk["attributes"]["vl2.tokens"] for chunk in chunks),
                         chat["attributes"]["gen_ai.usage.input_tokens"])
        generate = next(span for span in spans
                        if span["name"] == "vl2.v1.LanguageService/Generate" and span["kind"] == 2)
        events = [event["name"] for event in generate["events"]]
        self.assertEqual((events.count("slot_needed"), events.count("first_token")), (1, 1))
        for process in cluster.processes():
            wait_for(lambda process=process: "request=mine-1" in process.text(), 5, process.name)
            line = next(line for line in process.text().splitlines() if "request=mine-1" in line)
            self.assertIn("trace=" + self.TRACE, line)
            self.assertIn("code=ok", line)

    def test_over_grpc(self):
        if grpc_protos.MISSING:
            self.skipTest(grpc_protos.MISSING)
        collector = self.collector()
        cluster = self.start("--otlp_endpoint=" + collector.endpoint)
        request = grpc_protos.chat_pb2.ChatRequest(max_new_tokens=4, request_id="mine-2")
        message = request.messages.add(role=grpc_protos.chat_pb2.Message.ROLE_USER)
        message.parts.add().image.data = png_of(300, 300, 5)
        message.parts[0].image.tiling.fixed.tiles_wide = 1
        message.parts[0].image.tiling.fixed.tiles_high = 2
        message.parts.add().text = "What is it?"
        stub = grpc_protos.chat_pb2_grpc.ChatServiceStub(grpc_protos.grpc.insecure_channel(cluster.grpc))
        call = stub.Chat(request, metadata=[("traceparent", "00-%s-%s-01" % (self.TRACE, self.CLIENT))])
        list(call)
        self.assertIn(("x-request-id", "mine-2"), [tuple(each) for each in call.initial_metadata()])
        spans = collector.tree(self.TRACE, {
            "vl2.v1.ChatService/Chat": 1, "vl2.v1.VisionService/Encode": 2, "encode row": 2,
            "vl2.v1.LanguageService/UploadEmbeddings": 2, "vl2.v1.LanguageService/Generate": 2, "prefill chunk": 1})
        self.check_tree(spans, "vl2.v1.ChatService/Chat")
        for process in cluster.processes():
            wait_for(lambda process=process: "request=mine-2" in process.text(), 5, process.name)

    def test_the_parent_decides(self):
        collector = self.collector()
        cluster = self.start("--otlp_endpoint=" + collector.endpoint)
        self.assertEqual(cluster.chat(ask("Hi"))[0], 200)
        self.assertEqual(self.post(cluster, ask("Hi"), "1" * 31 + "f")[0], 200)
        collector.tree("1" * 31 + "f", {"POST /v1/chat/completions": 1, "vl2.v1.LanguageService/Generate": 2})
        self.assertEqual({span["traceId"] for span in collector.spans}, {"1" * 31 + "f"})

    def test_a_resumed_call_links_to_the_lost_one(self):
        collector = self.collector()
        cluster = self.start("--otlp_endpoint=" + collector.endpoint, num_lm=2)
        connection = cluster.connect()
        connection.request("POST", "/v1/chat/completions",
                           json.dumps({**ask("A very long story."), "max_tokens": 3000, "stream": True}),
                           {"traceparent": "00-%s-%s-01" % (self.TRACE, self.CLIENT)})
        response = connection.getresponse()
        chunks, killed = [], None
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            chunks.append(json.loads(line[len("data: "):]))
            if killed is None and len(text_of(chunks)) > 20:
                killed = max(cluster.lm, key=cluster.running)
                cluster.lm.remove(killed)
                killed.kill()
        connection.close()
        spans = collector.tree(self.TRACE, {"POST /v1/chat/completions": 1, "vl2.v1.LanguageService/Generate": 3})
        calls = sorted((span for span in spans if span["name"] == "vl2.v1.LanguageService/Generate"
                        and span["kind"] == 3), key=lambda span: span["begin"])
        self.assertEqual(len(calls), 2)
        self.assertEqual([link["spanId"] for link in calls[1]["links"]], [calls[0]["spanId"]])
        self.assertEqual(calls[0]["status"], {"code": 2})

    def test_a_collector_that_is_away(self):
        cluster = self.start("--otlp_endpoint=http://127.0.0.1:1")
        self.assertEqual(self.post(cluster, ask("Hi"), self.TRACE)[0], 200)
        for process, name in ((cluster.gateway, "gateway"), (cluster.lm[0], "language")):
            wait_for(lambda process=process, name=name: cluster.metric(
                process, "vl2_%s_spans_dropped_total" % name) > 0, 15, "nothing is counted")
        begin = time.monotonic()
        self.assertEqual(cluster.stop(), [0, 0, 0])
        self.assertLess(time.monotonic() - begin, 10)

    def test_no_log_repeats_a_client(self):
        for form in ("text", "json"):
            with self.subTest(form):
                self.check_logs(form)

    def check_logs(self, form):
        keys = key_file([("alice", "a-" + MARKER, "acme", "- - -")])
        self.addCleanup(keys.close)
        collector = self.collector()
        cluster = self.start("--log_format=" + form, "--otlp_endpoint=" + collector.endpoint,
                             gateway_flags=["--api_keys=" + keys.name])
        good = ask(bytes_part(png_of(64, 64, 2)), MARKER, user=MARKER, stop=[MARKER], metadata={MARKER: MARKER})
        bad = [ask(MARKER, **{MARKER: MARKER, "temperature": MARKER}), ask(MARKER, model=MARKER),
               ask(MARKER, logit_bias={MARKER: 1}), ask(MARKER, stop=[MARKER * 40]), ask(MARKER, tools=[MARKER]),
               ask({"type": MARKER}), ask({"type": "image_url", "image_url": {"url": "data:image/png;base64," + MARKER}}),
               ask({"type": "image_url", "image_url": {"url": "http://%s.example/%s" % (MARKER, MARKER)}}),
               {"messages": [{"role": MARKER, "content": MARKER}]}, {"messages": MARKER}]
        key = {"Authorization": "Bearer a-" + MARKER, "X-Whatever": MARKER, "traceparent": MARKER}
        self.assertEqual(cluster.request("POST", "/v1/chat/completions", good, key)[0], 200)
        self.post(cluster, good, self.TRACE, **key | {"traceparent": "00-%s-%s-01" % (self.TRACE, self.CLIENT)})
        for body in [*bad, '{"%s": ' % MARKER, MARKER]:
            self.assertEqual(cluster.request("POST", "/v1/chat/completions", body, key)[0] // 100, 4, body)
        self.assertEqual(cluster.request("POST", "/v1/chat/completions", good,
                                         {"Authorization": "Bearer " + MARKER})[0], 401)
        collector.tree(self.TRACE, {"POST /v1/chat/completions": 1})
        self.assertEqual(cluster.stop(), [0, 0, 0])
        self.assertGreaterEqual(cluster.gateway.text().count("alice"), 10)
        for process in cluster.processes():
            self.assertNotIn(MARKER, process.text(), process.name)
            if form == "json":
                for line in process.text().splitlines():
                    self.assertIn("severity", json.loads(line))
        self.assertNotIn(MARKER, json.dumps(collector.spans))


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
