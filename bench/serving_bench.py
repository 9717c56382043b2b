#!/usr/bin/env python3
"""Prefill and decoding through the three services, with 1, 4 and 16 streams, and beside a peer if there is one.

   bench/serving_bench.py --model DIR [--weights auto,int8] [--cpu_target AVX2] [--threads 2] [--rounds 3]
       [--streams 1,4,16] [--prompt 512] [--tokens 64] [--busy] [--json FILE]
       [--peer_bin DIR --peer_model auto=FILE,int8=FILE]

What is measured, in tokens a second: a prompt of --prompt random tokens until the first token (the services' own
time, `timings.prefill_ms`), and decoding with S streams of different random prompts, from the moment when all of them
have begun until the first of them ends, counted by the language service. --busy adds decoding with one stream beside a
process that does nothing but take a core. Encoding of one tile comes from the vision service's own figure.

The peer is llama-bench and llama-batched-bench of --peer_bin on files of equal shapes, one for each name of
--weights; its rounds and ours alternate, and what is printed are medians and ratios. Its batched benchmark sends
every stream the same token, which then choose the same experts: that flatters it, so build it with
`std::rand() % llama_n_vocab(model)` in place of the two zeros. Standard library only.
"""
import argparse
import contextlib
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import threading
import time

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(REPOSITORY, "tests", "integration"))
from cluster import Cluster, run_all, wait_for  # noqa: E402

GENERATED = 'vl2_language_step_tokens_sum{kind="decode"}'


def words(count, seed):
    """Text of about so many tokens that no prefix cache knows."""
    letters = random.Random(seed)
    return " ".join("".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=3)) for _ in range(count))


class Ours:
    """The services with one --weights."""

    def __init__(self, args, weights):
        self.args = args
        flags = ["--weights=" + weights, "--threads=%d" % args.threads, "--cpu_target=" + args.cpu_target]
        vision_flags = flags if args.vision else ["--threads=1", "--cpu_target=" + args.cpu_target]
        # Blank tiles are measured when the vision service starts, before anything else runs.
        self.cluster = Cluster(args.bin, model=args.model, lm_flags=flags, vision_flags=vision_flags)
        self.seed = 0
        self.words = None  # for a prompt of args.prompt tokens
        self.tile_s = 1 / self.cluster.metric(self.cluster.vision[0], "vl2_vision_tiles_per_second")
        self.memory = max(int(re.search(r"VmHWM:\s+(\d+)", open("/proc/%d/status" % process.process.pid).read())[1])
                          for process in self.cluster.lm) * 1024

    def ask(self, num_words, max_tokens):
        self.seed += 1
        status, answer = self.cluster.chat({
            "temperature": 0, "ignore_eos": True, "max_tokens": max_tokens,
            "messages": [{"role": "user", "content": words(num_words, "%d %d" % (os.getpid(), self.seed))}]})
        if status != 200:
            raise RuntimeError(answer)
        return answer

    def prefill(self):
        if self.words is None:
            per_word = self.ask(100, 1)["usage"]["prompt_tokens"] / 100
            self.words = max(1, round(self.args.prompt / per_word) - 1)
        answer = self.ask(self.words, 1)
        computed = (answer["usage"]["prompt_tokens"] -
                    answer["usage"]["prompt_tokens_details"]["cached_tokens"])
        return computed / answer["timings"]["prefill_ms"] * 1000

    def decode(self, num_streams):
        cluster, tokens = self.cluster, self.args.tokens
        decoding = 'vl2_language_sequences{state="decode"}'
        ended = threading.Event()
        window = {}

        def watch():
            lm = cluster.lm[0]
            wait_for(lambda: cluster.metric(lm, decoding) >= num_streams or ended.is_set(), 600)
            begin, first = time.monotonic(), cluster.metric(lm, GENERATED)
            while not ended.wait(0.05):
                if cluster.metric(lm, decoding) < num_streams:
                    break
                window["rate"] = (cluster.metric(lm, GENERATED) - first) / (time.monotonic() - begin)

        def stream():
            self.ask(16, tokens)
            ended.set()

        run_all([watch] + [stream] * num_streams)
        if "rate" not in window:
            raise RuntimeError("%d streams never decoded all at once: raise --tokens" % num_streams)
        return window["rate"]

    def stop(self):
        self.cluster.stop()


class Peer:
    def __init__(self, args, model):
        self.args, self.model = args, model
        self.flags = ["-m", model, "-t", str(args.threads), "-fa", "1", *args.peer_flags.split()]

    def run(self, program, *flags):
        run = subprocess.run([os.path.join(self.args.peer_bin, program), *self.flags, *flags], capture_output=True,
                             text=True, check=False)
        if run.returncode != 0:
            raise RuntimeError(run.stdout + run.stderr)
        return run.stdout + run.stderr if program == "llama-batched-bench" else run.stdout

    def bench(self, prompt, tokens):
        rows = json.loads(self.run("llama-bench", "-rtr", "1", "-p", str(prompt), "-n", str(tokens), "-r", "1", "-o", "json"))
        return rows[0]["avg_ts"]

    def prefill(self):
        return self.bench(self.args.prompt, 0)

    def decode(self, num_streams):
        if num_streams == 1:
            return self.bench(0, self.args.tokens)
        out = self.run("llama-batched-bench", "-rtr", "-c", "8192", "-npp", "32", "-ntg", str(self.args.tokens), "-npl",
                       str(num_streams))
        row = [line for line in out.splitlines() if line.startswith("|") and line.split("|")[3].strip() == str(num_streams)]
        return float(row[-1].split("|")[8])


@contextlib.contextmanager
def busy_core():
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def cpu_model():
    with open("/proc/cpuinfo") as file:
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())


def measure_pair(args, weights, peer_model):
    """{case: {"ours": [...], "peer": [...]}}: rounds alternate between the two."""
    cases = [("prefill %d" % args.prompt, lambda side: side.prefill())]
    for count in args.streams:
        cases.append(("decode, %d stream%s" % (count, "" if count == 1 else "s"),
                      lambda side, count=count: side.decode(count)))

    def beside_busy_core(side):
        with busy_core():
            return side.decode(1)

    if args.busy:
        cases.append(("decode, 1 stream, one busy core", beside_busy_core))
    peer = Peer(args, peer_model) if peer_model else None
    ours = Ours(args, weights)
    try:
        ours.prefill()  # not counted: first touch
        results = {}
        for name, run in cases:
            results[name] = {"ours": []}
            for _ in range(args.rounds):
                results[name]["ours"].append(run(ours))
                if peer:
                    results[name].setdefault("peer", []).append(run(peer))
        return results, {"tile_s": ours.tile_s, "lm_memory_bytes": ours.memory}
    finally:
        ours.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=os.path.join(REPOSITORY, "build", "release", "bin"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--cpu_target", default="")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", default="1,4,16", type=lambda text: [int(each) for each in text.split(",")])
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--vision", action="store_true", help="--weights for the vision service too")
    parser.add_argument("--peer_bin")
    parser.add_argument("--peer_model", default="", help="NAME=FILE,... of --weights")
    parser.add_argument("--peer_flags", default="")
    parser.add_argument("--json")
    args = parser.parse_args()
    peer_models = dict(each.split("=", 1) for each in args.peer_model.split(",") if each)
    commit = subprocess.run(["git", "-C", REPOSITORY, "describe", "--always", "--dirty"], capture_output=True,
                            text=True, check=False).stdout.strip() or "unknown"
    report = {"commit": commit, "machine": cpu_model(), "threads": args.threads, "model": os.path.basename(args.model),
              "cpu_target": args.cpu_target or "best", "runs": []}
    for weights in args.weights.split(","):
        results, more = measure_pair(args, weights, peer_models.get(weights))
        print("\n%s, --weights=%s: a tile takes %.2f s, the language service %.2f GiB" % (
            report["model"], weights, more["tile_s"], more["lm_memory_bytes"] / 2**30))
        for name, sides in results.items():
            medians = {side: statistics.median(values) for side, values in sides.items()}
            line = "  %-34s %7.1f tok/s (%s)" % (name, medians["ours"], " ".join("%.1f" % v for v in sides["ours"]))
            if "peer" in medians:
                line += "   peer %7.1f (%s)   ratio %.2f" % (
                    medians["peer"], " ".join("%.1f" % v for v in sides["peer"]), medians["ours"] / medians["peer"])
            print(line, flush=True)
        report["runs"].append({"weights": weights, **more, "cases": results})
    if args.json:
        with open(args.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
