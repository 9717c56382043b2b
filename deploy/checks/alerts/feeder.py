"""Stands in for kube-state-metrics: an exporter whose text is set."""
import http.server
import threading

PORT = 9099
CALM = {"status_current_replicas": 1, "spec_max_replicas": 10}
AT_MAX = {"status_current_replicas": 10, "spec_max_replicas": 10}


class Feeder:
    def __init__(self, address):
        self.values = CALM
        feeder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                text = "".join('kube_horizontalpodautoscaler_%s{horizontalpodautoscaler="vl2-language"} %d\n' % each
                               for each in feeder.values.items()).encode()
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

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
