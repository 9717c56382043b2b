"""The command-line client against real services. Usage: client_test.py BIN_FOLDER [unittest flags]"""
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import boxes_checkpoint  # noqa: E402
import cluster as services  # noqa: E402
from cluster import DATA, Cluster, image_part  # noqa: E402

BIN = sys.argv.pop(1)
MISSING = [name for name in ("lm_service", "vision_service", "gateway", "vl2")
           if not os.path.exists(os.path.join(BIN, name))]
if MISSING:
    print("SKIPPED: not built: " + ", ".join(MISSING))
    sys.exit(77)

SCENE = os.path.join(DATA, "images", "scene_640x480.png")
OTHER = os.path.join(DATA, "images", "scene_300x420.png")
GREEDY = ["--temperature=0", "--repetition_penalty=1", "--top_k=0", "--top_p=1",
          "--ignore_end_token"]
# The same over HTTP.
GREEDY_HTTP = {"temperature": 0, "repetition_penalty": 1, "top_k": 0, "top_p": 1,
               "ignore_eos": True}
# Takes seconds even of the small model.
LONG = ["--max_tokens=4000", "--samples=16", "--temperature=1", "--ignore_end_token", "Tell me."]


def png_pixels(data):
    """Rows of (r, g, b) of an 8-bit RGB PNG."""
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    assert (depth, colour) == (8, 2), (depth, colour)
    at, packed = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        packed += data[at + 8:at + 8 + size] if kind == b"IDAT" else b""
        at += 12 + size
    raw = zlib.decompress(packed)
    above, rows = bytearray(3 * width), []
    for y in range(height):
        kind, *line = raw[y * (3 * width + 1):(y + 1) * (3 * width + 1)]
        for i in range(3 * width):
            left, up = line[i - 3] if i >= 3 else 0, above[i]
            corner = above[i - 3] if i >= 3 else 0
            distances = [abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)]
            paeth = [left, up, corner][distances.index(min(distances))]
            line[i] = line[i] + [0, left, up, (left + up) // 2, paeth][kind] & 255
        above = line
        rows.append([tuple(line[i:i + 3]) for i in range(0, 3 * width, 3)])
    return rows


class ClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="vl2-client")
        cls.checkpoint = os.path.join(cls.folder.name, "boxes")
        os.mkdir(cls.checkpoint)
        cls.bias = boxes_checkpoint.make(services.CHECKPOINT, cls.checkpoint)
        cls.cluster = Cluster(BIN, model=cls.checkpoint)

    @classmethod
    def tearDownClass(cls):
        codes = cls.cluster.stop()
        cls.folder.cleanup()
        assert codes == [0, 0, 0], codes

    def command(self, *words, server=None):
        return [os.path.join(BIN, "vl2"), words[0], "--server=" + (server or self.cluster.grpc),
                *words[1:]]

    def vl2(self, *words, code=0, stdin=b"", server=None):
        """Standard output and standard error."""
        done = subprocess.run(self.command(*words, server=server), input=stdin,
                              capture_output=True, timeout=120)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertNotIn(b"\x1b", done.stderr)
        if code not in (0, 7):
            self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
            self.assertTrue(done.stderr.startswith(b"vl2: "), done.stderr)
        return done.stdout.decode(), done.stderr.decode()

    def http(self, *content, **more):
        status, answer = self.cluster.chat({"messages": [{"role": "user", "content": [
            {"type": "text", "text": part} if isinstance(part, str) else part
            for part in content]}], **GREEDY_HTTP, **more})
        self.assertEqual(status, 200, answer)
        return [choice["message"]["content"] for choice in answer["choices"]]

    def wait_until_idle(self):
        deadline = time.monotonic() + 5
        while self.cluster.metric(self.cluster.gateway, "vl2_gateway_upstream_calls") > 0:
            self.assertLess(time.monotonic(), deadline, "the upstream call goes on")
            time.sleep(0.02)

    def test_answers_are_those_of_http(self):
        out, err = self.vl2("ask", *GREEDY, "--max_tokens=20", "Tell me a story.")
        self.assertEqual(out, self.http("Tell me a story.", max_tokens=20)[0] + "\n")
        self.assertEqual(err, "")
        question = "Describe this image in detail."
        out, err = self.vl2("ask", SCENE, question, *GREEDY, "--max_tokens=24", "--timings")
        self.assertEqual(out, self.http(image_part("scene_640x480.png"), question,
                                        max_tokens=24)[0] + "\n")
        self.assertRegex(err, r"^1045 prompt tokens \(\d+ cached\), 24 generated; first token")
        with open(SCENE, "rb") as file:
            piped, _ = self.vl2("ask", "-", question, *GREEDY, "--max_tokens=24",
                                stdin=file.read())
        self.assertEqual(piped, out)

    def test_two_pictures_a_system_message_and_samples(self):
        two, _ = self.vl2("ask", *GREEDY, "--max_tokens=8", "--tiling=1x1", SCENE, OTHER,
                          "Compare.")
        tiling = {"tiles_wide": 1, "tiles_high": 1}
        self.assertEqual(two, self.http(image_part("scene_640x480.png", tiling=tiling),
                                        image_part("scene_300x420.png", tiling=tiling),
                                        "Compare.", max_tokens=8)[0] + "\n")
        drawn, _ = self.vl2("ask", *GREEDY, "--temperature=1", "--seed=5", "--samples=2",
                            "--max_tokens=12", "--system=Be brief.", "Hello")
        status, answer = self.cluster.chat({
            **GREEDY_HTTP, "temperature": 1, "seed": 5, "n": 2, "max_tokens": 12, "messages": [
                {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]})
        self.assertEqual(status, 200, answer)
        texts = [choice["message"]["content"] for choice in answer["choices"]]
        self.assertNotEqual(texts[0], texts[1])
        self.assertEqual(drawn, "%s\n--- answer 2 of 2\n%s\n" % tuple(texts))

    def ask_for_boxes(self, *words, code=0):
        bias = ",".join("%s:%s" % entry for entry in self.bias.items())
        sampling = ["--%s=%s" % entry for entry in boxes_checkpoint.SAMPLING.items()]
        return self.vl2("ask", *sampling, "--logit_bias=" + bias, "--max_tokens=40", *words,
                        code=code)

    def test_boxes_are_drawn(self):
        path = os.path.join(self.folder.name, "out.png")
        out, err = self.ask_for_boxes("--boxes=" + path, SCENE, "Where?")
        self.assertEqual(out, "<|ref|>%s<|/ref|><|det|>%s<|/det|>\n" % (
            boxes_checkpoint.LABEL, json.dumps(boxes_checkpoint.BOXES)))
        self.assertEqual(err, "boxes drawn: %s\n" % path)
        with open(SCENE, "rb") as file:
            before = png_pixels(file.read())
        with open(path, "rb") as file:
            after = png_pixels(file.read())
        self.assertEqual((len(after), len(after[0])), (480, 640))
        x1, y1, x2, y2 = boxes_checkpoint.BOXES[0]
        left, top = x1 * 640 // 999, y1 * 480 // 999
        right, bottom = -(-x2 * 640 // 999) - 1, -(-y2 * 480 // 999) - 1
        # A label may hide the upper left corner.
        for x, y in [(right, top), (left, bottom), (right, bottom), (639, 0), (639, 479)]:
            self.assertEqual(after[y][x], (214, 39, 40), (x, y))
        for x, y in [(right + 1, bottom + 1), (right - 2, bottom - 2), (left - 1, bottom)]:
            self.assertEqual(after[y][x], before[y][x], (x, y))

    def test_boxes_of_several_pictures_and_of_none(self):
        path = os.path.join(self.folder.name, "two.png")
        self.ask_for_boxes("--boxes=" + path, "--tiling=single", SCENE, OTHER, "Where?")
        self.assertEqual(sorted(name for name in os.listdir(self.folder.name) if "two" in name),
                         ["two-1.png"])
        _, err = self.vl2("ask", *GREEDY, "--max_tokens=4", "--boxes=" + path, SCENE, "What?",
                          code=7)
        self.assertIn("no boxes", err)
        _, err = self.ask_for_boxes("--boxes=/nothing/out.png", SCENE, "Where?", code=1)
        self.assertIn("/nothing/out.png", err)

    def test_json(self):
        out, _ = self.ask_for_boxes("--json", SCENE, "Where?")
        events = [json.loads(line) for line in out.splitlines()]
        kinds = [event["event"] for event in events]
        self.assertEqual(kinds[-4:], ["text", "boxes", "sample_end", "end"])
        self.assertIn("progress", kinds)
        boxes = events[-3]["boxes"]
        self.assertEqual([[box[key] for key in ("x1", "y1", "x2", "y2")] for box in boxes],
                         boxes_checkpoint.BOXES)
        self.assertAlmostEqual(boxes[0]["right"], 500 / 999 * 640)
        self.assertEqual(events[-1]["generated_tokens"], 7)
        out, _ = self.vl2("ask", "--json", "--temperature=11", "x", code=4)
        self.assertEqual(json.loads(out)["code"], "INVALID_ARGUMENT")

    def test_info(self):
        out, err = self.vl2("info")
        self.assertEqual(err, "")
        for part in (": ready", "model boxes", "context 4096 tokens", self.cluster.lm[0].address,
                     self.cluster.vision[0].address, "queued tiles", "running sequences"):
            self.assertIn(part, out)
        running = subprocess.Popen(self.command("ask", *LONG), stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        running.stdout.read(1)
        deadline = time.monotonic() + 20
        while True:
            info = json.loads(self.vl2("info", "--json")[0])
            language = info["language"][0]
            if language["load"]["running_sequences"] == 1:
                break
            self.assertLess(time.monotonic(), deadline, info)
        self.assertEqual(language["outstanding_calls"], 1)
        self.assertGreater(language["load"]["cache_used_tokens"], 0)
        self.assertEqual(language["weight_dtype"], "bf16")
        self.assertEqual(info["limits"]["max_message_bytes"], 64 << 20)
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=10)
        self.wait_until_idle()

    def test_refusals(self):
        readme = os.path.join(services.REPOSITORY, "README.md")
        large = os.path.join(self.folder.name, "large.png")
        with open(large, "wb") as file:
            file.truncate((20 << 20) + 1)
        cut = os.path.join(self.folder.name, "cut.png")
        with open(SCENE, "rb") as source, open(cut, "wb") as file:
            file.write(source.read(1000))
        for code, says, words in [
                (2, "see vl2 --help", ["ask"]),
                (2, "the question comes after it", ["ask", SCENE]),
                (1, "no such file", ["ask", "nothing.png", "What?"]),
                (1, "20 MiB", ["ask", large, "What?"]),
                (1, "not recognised", ["ask", readme, "What?"]),
                (4, "png", ["ask", cut, "What?"]),
                (4, "temperature", ["ask", "--temperature=11", "What?"]),
                (4, "4095", ["ask", "word " * 5000]),
                (6, "--timeout 0.05", ["ask", "--timeout=0.05", *LONG])]:
            _, err = self.vl2(*words, code=code)
            self.assertIn(says, err.lower() if says == "png" else err)
        _, err = self.vl2("ask", "What?", code=3, server="127.0.0.1:1")
        self.assertIn("cannot connect to 127.0.0.1:1;", err)
        # HTTP is not gRPC.
        self.vl2("info", code=3, server=self.cluster.http)

    def test_ctrl_c_ends_the_answer_at_once(self):
        running = subprocess.Popen(self.command("ask", *LONG), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        running.stdout.read(10)
        running.send_signal(signal.SIGINT)
        started = time.monotonic()
        out, err = running.communicate(timeout=20)
        self.assertLess(time.monotonic() - started, 2)
        self.assertEqual((running.returncode, err), (130, b"vl2: interrupted\n"))
        self.assertTrue(out.endswith(b"\n"))
        self.wait_until_idle()

    def test_ctrl_c_while_a_picture_is_awaited(self):
        running = subprocess.Popen(self.command("ask", "-", "What?"), stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # More than a pipe holds: once it is written, the client reads.
        running.stdin.write(bytes(1 << 18))
        running.stdin.flush()
        self.assertIsNone(running.poll())
        running.send_signal(signal.SIGINT)
        running.wait(timeout=5)
        self.assertEqual(running.returncode, 130)
        running.communicate()

    def test_an_output_that_closes_ends_the_answer(self):
        running = subprocess.Popen(self.command("ask", *LONG), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        running.stdout.read(1)
        running.stdout.close()
        self.assertEqual(running.wait(timeout=20), 1)
        self.assertIn(b"standard output", running.stderr.read())
        running.stderr.close()
        self.wait_until_idle()

    def on_terminal(self, *words, term="xterm", **streams):
        """What a terminal gets to see on the streams that are not given otherwise."""
        terminal, side = pty.openpty()
        try:
            running = subprocess.Popen(self.command(*words), env={"TERM": term},
                                       **{"stdout": side, "stderr": side, **streams})
            os.close(side)
            seen = b""
            while running.poll() is None or select.select([terminal], [], [], 0)[0]:
                if select.select([terminal], [], [], 0.05)[0]:
                    try:
                        seen += os.read(terminal, 65536)
                    except OSError:  # the other side is closed
                        break
            out = running.stdout.read() if running.stdout else None
            self.assertEqual(running.wait(timeout=60), 0, seen)
            if running.stdout:
                running.stdout.close()
            return seen, out
        finally:
            os.close(terminal)

    def test_progress_on_a_terminal(self):
        words = ["ask", *GREEDY, "--max_tokens=8", "--tiling=max:2",
                 os.path.join(DATA, "images", "scene_500x333.png"), "What?"]
        plain, _ = self.vl2(*words)
        seen, out = self.on_terminal(*words, stdout=subprocess.PIPE)
        self.assertEqual(out.decode(), plain)
        lines = seen.split(b"\r\x1b[K")
        self.assertEqual((lines[0], lines[-1]), (b"", b""))
        self.assertIn(b" of 3 tiles", seen)
        self.assertRegex(lines[-2], rb"read \d+ of \d+ tokens$")
        # Both on one: the line is gone before the text begins.
        seen, _ = self.on_terminal(*words)
        before, after = seen.rsplit(b"\x1b[K", 1)
        self.assertEqual(after.replace(b"\r\n", b"\n").decode(), plain)
        # No progress where it cannot be cleared, or where nobody looks.
        self.assertNotIn(b"\x1b", self.on_terminal(*words, term="dumb")[0])
        self.assertNotIn(b"\x1b", self.on_terminal(*words, stderr=subprocess.DEVNULL)[0])


class LossTest(unittest.TestCase):
    command = ClientTest.command
    vl2 = ClientTest.vl2

    def setUp(self):
        self.cluster = Cluster(BIN)
        self.addCleanup(self.cluster.stop)

    def test_a_service_that_is_gone(self):
        self.cluster.vision[0].kill()
        deadline = time.monotonic() + 20
        while json.loads(self.vl2("info", "--json")[0])["ready"]:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        out, _ = self.vl2("info")
        self.assertIn("not ready: no replica of the vision service answers", out)
        self.assertIn(self.cluster.vision[0].address + "  does not answer: ", out)
        _, err = self.vl2("ask", SCENE, "What?", code=3)
        self.assertIn("vision", err)

    def test_the_gateway_goes_away(self):
        running = subprocess.Popen(self.command("ask", *LONG), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        running.stdout.read(10)
        self.cluster.gateway.kill()
        out, err = running.communicate(timeout=20)
        self.assertEqual(running.returncode, 3, err)
        self.assertTrue(out.endswith(b"\n"))
        self.assertEqual(err.count(b"\n"), 1)
        self.vl2("info", code=3)


if __name__ == "__main__":
    unittest.main(argv=sys.argv, verbosity=2, warnings="ignore")
