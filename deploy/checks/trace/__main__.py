"""Traces reach an OpenTelemetry collector: tests/integration/trace_test.py with a real one between the services
and the test's own, which then sees what the collector has understood and sent on.

   deploy/check trace [--bin DIR] [unittest flags]

The collector is built from its Go modules at the versions below (scripts/setup --deploy does it, two minutes on two
cores). It is also sent spans that are wrong, so that one that takes anything would show.
"""
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, os.path.join(HERE, "..", "quick"))
sys.path.insert(0, os.path.join(REPOSITORY, "tests", "integration"))
from real_collector import RealCollector  # noqa: E402
from tools import HOME  # noqa: E402

# The collector's modules come in two series, those that promise compatibility and those that do not yet.
STABLE, BETA = "v1.71.0", "v0.165.0"
MODULES = {"component": STABLE, "confmap": STABLE, "confmap/provider/fileprovider": STABLE, "receiver": STABLE,
           "exporter": STABLE, "otelcol": BETA, "service": BETA,
            "receiver/otlpreceiver": BETA, "exporter/otlphttpexporter": BETA}
PATH = os.path.join(HOME, "bin", "collector-" + BETA)
GOOD = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "a", "kind": 1,
        "startTimeUnixNano": "1790000000000000000", "endTimeUnixNano": "1790000000000000001"}
WRONG = ({"traceId": "0af7"}, {"spanId": "not hexadecimal!"}, {"startTimeUnixNano": "soon"}, {"kind": "client"},
         {"attributes": {"a": 1}}, {"events": "none"})


def install():
    """For scripts/setup --deploy."""
    if os.path.exists(PATH):
        return
    folder = os.path.join(HOME, "modules", "collector")
    os.makedirs(folder, exist_ok=True)
    shutil.copy(os.path.join(HERE, "collector.go"), folder)
    with open(os.path.join(folder, "go.mod"), "w") as file:
        file.write("module collector\n\ngo 1.25.0\n\n")
        file.writelines("require go.opentelemetry.io/collector/%s %s\n" % each for each in MODULES.items())
    print("trace: building %s" % PATH, flush=True)
    subprocess.run(["nice", "go", "build", "-mod=mod", "-p", "2", "-trimpath", "-ldflags", "-s -w", "-o", PATH + ".new",
                    "."], check=True, cwd=folder, env={**os.environ, "GOFLAGS": "", "CGO_ENABLED": "0"})
    os.replace(PATH + ".new", PATH)


def post(endpoint, span):
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    request = urllib.request.Request(endpoint + "/v1/traces", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    try:
        return urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code


def check_that_it_reads():
    """The collector refuses what is no OTLP: else it would prove nothing."""
    collector = RealCollector(PATH, "http://127.0.0.1:9")
    try:
        for wrong in WRONG:
            status = post(collector.endpoint, {**GOOD, **wrong})
            if status != 400:
                sys.exit("trace: the collector answers %d to a span with %s" % (status, json.dumps(wrong)))
    finally:
        collector.stop()
    print("trace: the collector refuses %d kinds of wrong spans" % len(WRONG))


def main():
    arguments = sys.argv[1:]
    if arguments == ["--install"]:
        return install()
    bin_folder = os.path.join(REPOSITORY, "build", "release", "bin")
    if arguments[:1] == ["--bin"]:
        bin_folder, arguments = arguments[1], arguments[2:]
    install()
    check_that_it_reads()
    test = os.path.join(REPOSITORY, "tests", "integration", "trace_test.py")
    run = subprocess.run([sys.executable, test, bin_folder, *arguments], env={**os.environ, "VL2_COLLECTOR": PATH},
                         stderr=subprocess.PIPE, text=True, check=False)
    print(run.stderr, end="")
    # What is skipped is a failure here.
    sys.exit(1 if run.returncode or "skipped" in run.stderr else 0)


if __name__ == "__main__":
    main()
