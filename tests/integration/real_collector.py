"""An OpenTelemetry collector as a process, which sends on what it gets, in OTLP's JSON form."""
import json
import os
import socket
import subprocess
import tempfile

from cluster import wait_for


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RealCollector:
    """`binary`: of deploy/checks/trace; `onward`: where traces go, "http://HOST:PORT"."""

    def __init__(self, binary, onward):
        self.folder = tempfile.TemporaryDirectory(prefix="vl2-collector")
        port = free_port()
        config = {
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": "127.0.0.1:%d" % port}}}},
            "exporters": {"otlp_http": {"endpoint": onward, "encoding": "json", "compression": "none",
                                        "sending_queue": {"enabled": False}, "retry_on_failure": {"enabled": False}}},
            "service": {"telemetry": {"metrics": {"level": "none"}},
                        "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["otlp_http"]}}}}
        path = os.path.join(self.folder.name, "config.yaml")
        with open(path, "w") as file:
            json.dump(config, file)  # which is YAML
        self.log = open(os.path.join(self.folder.name, "log"), "w+")
        self.process = subprocess.Popen([binary, "--config=file:" + path], stdout=self.log, stderr=self.log)
        self.endpoint = "http://127.0.0.1:%d" % port
        wait_for(lambda: self.ready(port), 30, self.text)

    def ready(self, port):
        if self.process.poll() is not None:
            raise RuntimeError("the collector did not start:\n" + self.text())
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def text(self):
        self.log.seek(0)
        return self.log.read()

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()
        self.folder.cleanup()
