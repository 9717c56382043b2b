#!/usr/bin/env python3
"""Time to the first token with tile rows streamed, against the whole picture encoded first.

   bench/overlap_bench.py [--bin build/release/bin] [--rounds 3] [--json FILE] [--model DIR]

Three processes on this machine: vision_service on one core, lm_service on another ("pinned"), or both on all
cores ("free"). The gateway's --stream_rows=false is the other side of each pair; pairs alternate. Without
--model a checkpoint is written whose encoding and prefill of a 3 x 3 tile picture take about as long on one
core (bench/overlap_shape.json); how alike they are is measured and printed. Standard library only.
"""
import argparse
import base64
import http.client
import json
import os
import statistics
import struct
import subprocess
import sys
import threading
import time
import zlib

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(REPOSITORY, "tests", "integration"))
from cluster import Cluster  # noqa: E402

POLL_S = 0.01


def draw_picture(width, height, seed):
    """A PNG of coloured squares; each seed another picture, so that no cache knows it."""
    rows = []
    for y in range(height):
        row = bytearray(b"\0")
        for x in range(width):
            cell = (x // 48) * 7 + (y // 48) * 13 + seed * 101
            row += bytes(((cell * 37) % 256, (cell * 91) % 256, (cell * 53) % 256))
        rows.append(bytes(row))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows), 1)) +
            chunk(b"IEND", b""))


class Timeline(threading.Thread):
    """Watches counters of the services and notes when each grew: (seconds, name, value)."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.sources = [(cluster.vision[0], "vl2_vision_tiles_encoded_total", "tiles encoded"),
                        (cluster.lm[0], "vl2_language_upload_bytes_total", "MB uploaded"),
                        (cluster.lm[0], 'vl2_language_step_tokens_sum{kind="prefill"}', "tokens prefilled")]
        self.cluster, self.events, self.running = cluster, [], True
        self.start_values = {name: cluster.metric(process, metric) for process, metric, name in self.sources}
        self.begin = time.monotonic()

    def run(self):
        last = dict(self.start_values)
        while self.running:
            for process, metric, name in self.sources:
                value = self.cluster.metric(process, metric)
                if value != last[name]:
                    last[name] = value
                    self.events.append((time.monotonic() - self.begin, name, value - self.start_values[name]))
            time.sleep(POLL_S)

    def stop(self):
        self.running = False
        self.join()
        return self.events


def first_token(cluster, picture, watch):
    """Seconds to the first piece of the answer, and the timeline when `watch`."""
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    body = json.dumps({
        "stream": True, "max_tokens": 2, "temperature": 0, "ignore_eos": True, "logprobs": True,
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}},
                                                  {"type": "text", "text": "What is this?"}]}]})
    timeline = Timeline(cluster) if watch else None
    if timeline:
        timeline.start()
    connection = http.client.HTTPConnection(cluster.http, timeout=600)
    begin = time.monotonic()
    connection.request("POST", "/v1/chat/completions", body)
    response = connection.getresponse()
    seconds = None
    for line in response:
        if line.startswith(b"data: {"):
            choices = json.loads(line[6:]).get("choices") or [{}]
            if seconds is None and choices[0].get("logprobs"):
                seconds = time.monotonic() - begin
    connection.close()
    if response.status != 200 or seconds is None:
        raise RuntimeError("no token came: HTTP %d" % response.status)
    return seconds, timeline.stop() if timeline else []


def pin(process, cores):
    """Every thread of a process; later ones inherit it."""
    for thread in os.listdir("/proc/%d/task" % process.process.pid):
        os.sched_setaffinity(int(thread), cores)


class Setup:
    """The two sides of a pair: the same model services each behind a gateway that streams rows or does not."""

    def __init__(self, args, pinned, cores):
        self.sides = {}
        for name, rows in (("streamed", "true"), ("whole", "false")):
            threads = "1" if pinned else str(len(cores))
            cluster = Cluster(args.bin, model=args.model, gateway_flags=["--stream_rows=" + rows],
                              vision_flags=["--threads=" + threads], lm_flags=["--threads=" + threads])
            if pinned:
                pin(cluster.vision[0], {cores[0]})
                pin(cluster.lm[0], {cores[1]})
            self.sides[name] = cluster

    def stop(self):
        for cluster in self.sides.values():
            cluster.stop()


def spans(events):
    """Seconds from the first to the last growth of each counter."""
    result = {}
    for name in {event[1] for event in events}:
        times = [event[0] for event in events if event[1] == name]
        result[name] = (min(times), max(times))
    return result


def print_timeline(events, total):
    for seconds, name, value in events:
        amount = "%6.1f" % (value / 1e6) if name.startswith("MB") else "%6d" % value
        print("    %7.3f s  %s %s" % (seconds, amount, name))
    print("    %7.3f s  first token" % total)


def measure(setup, size, rounds, seed):
    """Medians of both sides and a timeline of each."""
    times = {"streamed": [], "whole": []}
    timelines = {}
    for name, cluster in setup.sides.items():  # not counted: first touch of the weights
        first_token(cluster, draw_picture(*size, seed), watch=False)
    for round_ in range(rounds):
        picture = draw_picture(*size, seed + 1 + round_)
        for name, cluster in setup.sides.items():
            seconds, events = first_token(cluster, picture, watch=round_ == rounds - 1)
            times[name].append(seconds)
            if events:
                timelines[name] = (events, seconds)
    return {name: statistics.median(values) for name, values in times.items()}, timelines


def make_model(args):
    model = os.path.join(REPOSITORY, "build", "overlap_checkpoint")
    if not os.path.exists(os.path.join(model, "config.json")):
        print("writing a checkpoint to build/overlap_checkpoint")
        subprocess.run([os.path.join(args.bin, "make_checkpoint"),
                        "--shape=" + os.path.join(REPOSITORY, "bench", "overlap_shape.json"), model], check=True,
                       stdout=subprocess.DEVNULL)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=os.path.join(REPOSITORY, "build", "release", "bin"))
    parser.add_argument("--model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    args = parser.parse_args()
    args.model = args.model or make_model(args)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed")
    commit = subprocess.run(["git", "-C", REPOSITORY, "describe", "--always", "--dirty"], capture_output=True,
                            text=True).stdout.strip() or "unknown"
    report = {"commit": commit, "cores": len(cores), "cases": []}
    for placement in ("pinned", "free"):
        setup = Setup(args, placement == "pinned", cores)
        for label, size in (("3x3 tiles", (1140, 1130)), ("1x9 tiles", (380, 3400))):
            median, timelines = measure(setup, size, args.rounds, seed=len(report["cases"]) * 1000)
            ratio = median["streamed"] / median["whole"]
            print("\n%s, %s: first token after %.3f s streamed, %.3f s whole picture first: ratio %.3f" % (
                label, placement, median["streamed"], median["whole"], ratio))
            case = {"picture": label, "placement": placement, "streamed_s": median["streamed"],
                    "whole_s": median["whole"], "ratio": ratio}
            for name, (events, total) in timelines.items():
                print("  timeline, %s:" % name)
                print_timeline(events, total)
            events, total = timelines["whole"]
            span = spans(events)
            encode = span["tiles encoded"][1]
            prefill = total - span["MB uploaded"][1]
            case["encode_s"], case["prefill_s"] = encode, prefill
            print("  whole picture first: encoded after %.3f s, prefilled in %.3f s: encode / prefill %.2f" % (
                encode, prefill, encode / prefill))
            report["cases"].append(case)
        setup.stop()
    if args.json:
        with open(args.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
