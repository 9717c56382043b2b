"""What the services would tell of their load: an exporter whose series are set, and what HPA is to make of them."""
import http.server
import threading
import time

PORT = 9099
TILES_PER_SECOND = 2.0  # of one vision replica
REQUESTED_PER_SECOND = 1.0


class Needs:
    """`active` sequences, `cache` share used, `queued` tiles, `streams` of the gateway; set by one thread."""

    def __init__(self, address):
        self.active, self.cache, self.queued, self.streams = 1, 0.1, 0, 1
        self.begin = time.monotonic()
        needs = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                text = needs.text().encode()
                try:
                    self.send_response(200)
                    self.send_header("Content-Type", "text/plain")
                    self.end_headers()
                    self.wfile.write(text)
                except OSError:
                    pass  # it asks again

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((address, PORT), Handler)
        self.server.daemon_threads = True
        self.target = "%s:%d" % (address, PORT)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def text(self):
        requested = REQUESTED_PER_SECOND * (time.monotonic() - self.begin)
        return "".join("%s %g\n" % each for each in (
            ('vl2_language_sequences{state="decode"}', self.active),
            # Vision's backlog, which no language replica helps against.
            ('vl2_language_sequences{state="awaiting_embeddings"}', 1000),
            ('vl2_language_cache_blocks{state="used"}', 1000 * self.cache),
            ('vl2_language_cache_blocks{state="total"}', 1000),
            ('vl2_vision_tiles_requested_total{outcome="encoded"}', requested),
            ('vl2_vision_tiles_requested_total{outcome="reused"}', 100 * requested),
            ("vl2_vision_tiles_queued", self.queued),
            ("vl2_vision_tiles_per_second", TILES_PER_SECOND),
            ("vl2_gateway_in_flight", self.streams)))

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
