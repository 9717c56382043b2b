#!/usr/bin/env python3
"""Replicas whose weights are kept as integers beside others: --weights=bf16 gives way to int8 under load,
and a stream that loses its replica goes on only where the same bits are computed.

Usage: weights_test.py BIN_FOLDER [unittest flags]
"""
import json
import os
import re
import subprocess
import sys
import tempfile
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

    def test_an_instruction_set_that_is_not_there_is_refused(self):
        for program in ("lm_service", "vision_service"):
            run = subprocess.run([os.path.join(BIN, program), "--model=" + CHECKPOINT, "--cpu_target=AVX9"],
                                 capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(run.returncode, 1)
            self.assertRegex(run.stderr + run.stdout,
                             "--cpu_target \"AVX9\" is not one of this machine's: [A-Z0-9_]+(, [A-Z0-9_]+)*")

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
        cluster = MixedCluster(["bf16", "int8", "int8"])
        self.addCleanup(cluster.stop)
        # Which replica a stream goes to is the gateway's choice, and the same for the same beginning.
        for number in range(12):
            body = {**ask("Tell me everything of %d." % number, max_tokens=2000), "ignore_eos": True}
            texts, killed = [], False
            for chunk in cluster.open_stream(body):
                if not isinstance(chunk, dict) or not chunk.get("choices"):
                    continue
                texts.append(chunk["choices"][0]["delta"].get("content") or "")
                if len(texts) == 20 and not killed:
                    busy = [lm for lm in cluster.lm[1:]
                            if cluster.metric(lm, "vl2_language_sequences") > 0]
                    if busy:
                        busy[0].process.kill()
                        killed = True
            if killed:
                break
        else:
            self.fail("no stream went to an int8 replica")
        expected = {}
        for weights in ("int8", "bf16"):
            alone = Cluster(BIN, lm_flags=["--weights=" + weights], vision_flags=["--weights=" + weights])
            try:
                expected[weights] = text_of(alone.stream(body))
            finally:
                alone.stop()
        self.assertNotEqual(expected["bf16"], expected["int8"], "the test would prove nothing")
        self.assertEqual("".join(texts), expected["int8"])


def logprobs_of(reply):
    return [(each["token"], each["logprob"], [(top["token"], top["logprob"]) for top in each["top_logprobs"]])
            for each in reply["choices"][0]["logprobs"]["content"]]


class PackedCheckpointTest(unittest.TestCase):
    """What tools/quantize writes is what --weights makes of the source, to the last bit."""

    def quantize(self, weights, source=CHECKPOINT):
        folder = tempfile.TemporaryDirectory(prefix="vl2-packed")
        self.addCleanup(folder.cleanup)
        out = os.path.join(folder.name, "packed")
        run = subprocess.run([os.path.join(BIN, "quantize"), "--weights=" + weights, source, out],
                             capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("100%", run.stderr)
        return out

    def start_error(self, model, *flags):
        run = subprocess.run([os.path.join(BIN, "lm_service"), "--model=" + model, *flags],
                             capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(run.returncode, 1)
        return run.stderr + run.stdout

    def test_parts_in_more_bits(self):
        value = "int4+vision.blocks.0+language.model.layers.1"
        packed = self.quantize(value)
        with open(os.path.join(packed, "config.json")) as file:
            self.assertEqual(json.load(file)["quantization_config"]["weights"],
                             "int4+language.model.layers.1+vision.blocks.0")
        answers = []
        for model, weights in ((packed, "auto"), (CHECKPOINT, value), (CHECKPOINT, "int4")):
            flags = ["--weights=" + weights]
            cluster = Cluster(BIN, model=model, lm_flags=flags, vision_flags=flags)
            status, answer = cluster.chat({**ask(image_part("scene_300x420.png"), "What is it?", max_tokens=12),
                                           "logprobs": True, "ignore_eos": True})
            cluster.stop()
            self.assertEqual(status, 200, answer)
            answers.append(answer["choices"][0]["logprobs"])
        self.assertEqual(answers[0], answers[1])
        self.assertNotEqual(answers[1], answers[2])
        self.assertIn("the checkpoint's weights are int4+language.model.layers.1+vision.blocks.0, --weights is int4",
                      self.start_error(packed, "--weights=int4"))
        for wrong, text in (("int8+vision.blocks.99", "names vision.blocks.99, which the model lacks"),
                            ("int8+vision", "is not language.model.layers.N, vision.blocks.N or")):
            self.assertIn(text, self.start_error(CHECKPOINT, "--weights=" + wrong))

    def test_the_same_bits_as_packed_at_the_start(self):
        body = {**ask(image_part("scene_640x480.png"), "What is it?", max_tokens=12), "logprobs": True,
                "top_logprobs": 5}
        for weights in ("int8", "int4"):
            answers, ids = [], []
            for model, flags in ((CHECKPOINT, ["--weights=" + weights]), (self.quantize(weights), [])):
                cluster = Cluster(BIN, model=model, lm_flags=flags, vision_flags=flags)
                try:
                    status, reply = cluster.chat(body)
                    self.assertEqual(status, 200, reply)
                    answers.append(logprobs_of(reply))
                    ids.append([line for line in cluster.lm[0].text().splitlines() if "model_id" in line][0])
                finally:
                    cluster.stop()
            self.assertEqual(answers[0], answers[1])
            self.assertEqual(*[re.search(r'model_id[=":]+([a-z0-9-]+)', line)[1] for line in ids])

    def test_what_does_not_fit_is_refused(self):
        packed = self.quantize("int8")
        self.assertIn("the checkpoint's weights are int8, --weights is int4",
                      self.start_error(packed, "--weights=int4"))
        self.assertIn("the weights are int8, --weights is f32", self.start_error(packed, "--weights=f32"))
        run = subprocess.run([os.path.join(BIN, "quantize"), packed, packed + "2"], capture_output=True,
                             text=True, timeout=60, check=False)
        self.assertIn("the weights are int8 already", run.stderr)
        run = subprocess.run([os.path.join(BIN, "quantize"), CHECKPOINT, packed], capture_output=True,
                             text=True, timeout=60, check=False)
        self.assertIn("exists and is not an empty folder", run.stderr)
        path = os.path.join(packed, "config.json")
        with open(path) as file:
            config = json.load(file)
        for change, text in (({"layout": 2}, ".quantization_config.layout: 2 is not known, only 1"),
                             ({"layout": "1"}, ".layout: \"1\" is not known"),
                             ({"weights": "int4"}, "expected w4a8 of weights int4"),
                             ({"weights": "int5"}, "int5"), ({"weights": "bf16"}, "not one of int8, int4"),
                             ({"source_model_id": "../x"}, ".source_model_id: is no model id"),
                             ({"source_model_id": 3}, "source_model_id"),
                             ({"quant_method": "gptq"}, "quantization_config")):
            with open(path, "w") as file:
                json.dump({**config, "quantization_config": {**config["quantization_config"], **change}}, file)
            self.assertIn(text, self.start_error(packed))
        with open(path, "w") as file:  # packed, and the configuration does not say so
            json.dump({key: value for key, value in config.items() if key != "quantization_config"}, file)
        self.assertIn("expected as stored of weights bf16", self.start_error(packed))


if __name__ == "__main__":
    unittest.main(argv=sys.argv, verbosity=2, warnings="ignore")
