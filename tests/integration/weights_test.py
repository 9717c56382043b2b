#!/usr/bin/env python3
"""Replicas whose weights are kept as integers beside others: --weights=bf16 gives way to int8 under load,
and a stream that loses its replica goes on only where the same bits are computed.

Usage: weights_test.py BIN_FOLDER [unittest flags]
"""
import os
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import CHECKPOINT, Cluster, image_part, text_of  # noqa: E402

BIN = sys.argv.pop(1)


def ask(*parts, max_tokens):
    content = [part if isinstance(part, dict) else {"type": "text", "text": part} for part in parts]
    return {"temperature": 0, "max_tokens": max_tokens, "messages": [{"role": "user", "content": content}]}


def answer_of(reply):
    return reply["choices"][0]["message"]["content"] or ""


class MixedCluster(Cluster):
    """Replica i of each service has the i-th of `weights`."""

    def __init__(self, weights, **kwargs):
        self.to_come = {"lm": list(weights), "vision": list(weights)}
        super().__init__(BIN, num_lm=len(weights), num_vision=len(weights), **kwargs)

    def start_lm(self, *flags, **kwargs):
        return super().start_lm("--weights=" + self.to_come["lm"].pop(0), *flags, **kwargs)

    def start_vision(self, targets, *flags, **kwargs):
        return super().start_vision(targets, "--weights=" + self.to_come["vision"].pop(0), *flags, **kwargs)


class WeightsTest(unittest.TestCase):
    def test_another_value_is_refused(self):
        for program in ("lm_service", "vision_service"):
            run = subprocess.run([os.path.join(BIN, program), "--model=" + CHECKPOINT, "--weights=int5"],
                                 capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(run.returncode, 1)
            self.assertIn('--weights "int5" is not one of auto, bf16, f32, int8, int4', run.stderr + run.stdout)

    def test_bf16_gives_way_to_int8_under_load(self):
        cluster = MixedCluster(["bf16", "int8"])
        self.addCleanup(cluster.stop)
        body = ask(image_part("scene_640x480.png"), "What is it?", max_tokens=24)
        results, done = [], threading.Event()

        def load():
            while not done.is_set():
                status, reply = cluster.chat(body)
                results.append((status, answer_of(reply) if status == 200 else reply))

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while len(results) < 12:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        for process in (cluster.lm[0], cluster.vision[0]):
            process.process.terminate()
        before = len(results)
        while len(results) < before + 16:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        done.set()
        for thread in threads:
            thread.join()
        self.assertEqual([each for each in results if each[0] != 200], [])

    def test_a_stream_goes_on_among_its_like(self):
        """Of bf16, int8, int8 one int8 is killed under a stream: the other int8 goes on with the text."""
        body = {**ask("Tell me everything.", max_tokens=300), "ignore_eos": True}
        alone = Cluster(BIN, lm_flags=["--weights=int8"], vision_flags=["--weights=int8"])
        try:
            expected = text_of(alone.stream(body))
        finally:
            alone.stop()
        stored = Cluster(BIN)
        try:
            self.assertNotEqual(text_of(stored.stream(body)), expected, "the test would prove nothing")
        finally:
            stored.stop()
        cluster = MixedCluster(["bf16", "int8", "int8"])
        self.addCleanup(cluster.stop)
        killed = 0
        for _ in range(12):  # which replica a stream goes to is the gateway's choice
            texts = []
            for chunk in cluster.open_stream(body):
                if not isinstance(chunk, dict) or not chunk.get("choices"):
                    continue
                texts.append(chunk["choices"][0]["delta"].get("content") or "")
                if len(texts) == 20 and not killed:
                    busy = [lm for lm in cluster.lm[1:]
                            if cluster.metric(lm, "vl2_language_sequences") > 0]
                    if busy:
                        busy[0].process.kill()
                        killed += 1
            if killed:
                self.assertEqual("".join(texts), expected)
                return
        self.fail("no stream went to an int8 replica")


if __name__ == "__main__":
    unittest.main(argv=sys.argv, verbosity=2, warnings="ignore")
