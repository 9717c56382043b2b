"""Sixty-four streams at once, with text, one picture and several: each as if it were alone.

Usage: load_test.py BIN_FOLDER [--model=FOLDER] [unittest flags]
"""
import os
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import DATA, Cluster, bytes_part, image_part, png_of, run_all, text_of  # noqa: E402

BIN = sys.argv.pop(1)
MODEL = os.path.join(DATA, "checkpoints", "small_mla")
if len(sys.argv) > 1 and sys.argv[1].startswith("--model="):
    MODEL = sys.argv.pop(1)[len("--model="):]
for name in ("lm_service", "vision_service", "gateway"):
    if not os.path.exists(os.path.join(BIN, name)):
        print("SKIPPED: %s is not built" % name)
        sys.exit(77)

NUM_STREAMS = 64
NUM_TOKENS = 40


def request(*content):
    parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    return {"messages": [{"role": "user", "content": parts}], "temperature": 0,
            "repetition_penalty": 1, "ignore_eos": True, "max_tokens": NUM_TOKENS,
            "stream_options": {"include_usage": True}}


def requests():
    """Of eight: three of text, two with one picture, two with two, one with three or four."""
    bodies = []
    for i in range(NUM_STREAMS // 8):
        # Some pictures are in several requests: they share encodings and cached keys.
        one = bytes_part(png_of(300 + 40 * i, 400, i), tiling={"max_tiles": 1 + i % 3})
        other = bytes_part(png_of(200, 300 + 20 * i, 100 + i), tiling={"max_tiles": 1})
        bodies += [
            request("Question %d?" % i),
            request("Tell me about number %d. " % i * (5 + 10 * i)),
            request("The same beginning for all. " * 20, "And the end of %d." % i),
            request(one, "What is in picture %d?" % i),
            request(image_part("scene_400x300.png", tiling={"max_tiles": 2}), "Where? %d" % i),
            request("First ", one, " and second ", other, " compared."),
            request(other, one, "In another order."),
            request(*[bytes_part(png_of(64, 64, 1000 + 4 * i + k)) for k in range(3 + i % 2)],
                    "How many?"),
        ]
    assert len(bodies) == NUM_STREAMS
    return bodies


class LoadTest(unittest.TestCase):
    def test_every_stream_as_alone(self):
        bodies = requests()
        # Asked of other processes, so that nothing is cached for the crowd.
        quiet = Cluster(BIN, model=MODEL)
        try:
            alone = [quiet.chat(body) for body in bodies]
        finally:
            self.assertEqual(quiet.stop(), [0, 0, 0])
        for status, answer in alone:
            self.assertEqual(status, 200, answer)
        expected = [answer["choices"][0]["message"]["content"] for _, answer in alone]
        self.assertGreater(len(set(expected)), NUM_STREAMS // 2, "the answers tell nothing")

        cluster = Cluster(BIN, model=MODEL)
        self.addCleanup(cluster.stop)
        start = threading.Barrier(NUM_STREAMS)
        peak = {"running": 0, "in_flight": 0}
        done = threading.Event()

        def watch():
            while not done.is_set():
                running = cluster.running(cluster.lm[0])
                in_flight = cluster.metric(cluster.gateway, "vl2_gateway_in_flight")
                peak["running"] = max(peak["running"], running)
                peak["in_flight"] = max(peak["in_flight"], in_flight)
                done.wait(0.02)

        def ask(body):
            start.wait()
            return cluster.stream(body)

        watcher = threading.Thread(target=watch)
        watcher.start()
        begin = time.monotonic()
        try:
            answers = run_all([lambda body=body: ask(body) for body in bodies])
        finally:
            done.set()
            watcher.join()
        seconds = time.monotonic() - begin
        for i, (chunks, (_, answer)) in enumerate(zip(answers, alone)):
            self.assertEqual(chunks[-1], "[DONE]", i)
            self.assertEqual(text_of(chunks), expected[i], "stream %d" % i)
            usage = chunks[-2]["usage"]
            self.assertEqual(usage["completion_tokens"], NUM_TOKENS)
            self.assertEqual(usage["prompt_tokens"], answer["usage"]["prompt_tokens"])
        print("  %d streams in %.1f s, at most %d in flight and %d running" % (
            NUM_STREAMS, seconds, peak["in_flight"], peak["running"]))
        self.assertGreater(peak["in_flight"], NUM_STREAMS // 2, "they did not meet")
        self.assertGreater(peak["running"], 8)
        cluster.assert_idle()


if __name__ == "__main__":
    unittest.main(argv=sys.argv, verbosity=2, warnings="ignore")
