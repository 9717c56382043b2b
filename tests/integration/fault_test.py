"""What goes wrong while others are served: clients that leave, a cache that is too small, services
that die, hang or stop. The answers that can be given are those of an undisturbed service.

Vision runs the slow reference operations (about a quarter of a second a tile), so that it is hit
in the middle of a picture; each test proves that it was, from the metrics.

Usage: fault_test.py BIN_FOLDER [unittest flags]
"""
import json
import os
import signal
import socket
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import DATA, Cluster, bytes_part, png_of, run_all, text_of, wait_for  # noqa: E402

BIN = sys.argv.pop(1)
for name in ("lm_service", "vision_service", "gateway"):
    if not os.path.exists(os.path.join(BIN, name)):
        print("SKIPPED: %s is not built" % name)
        sys.exit(77)

# A model with latent attention, whose prompt and generated positions are computed differently.
LATENT = os.path.join(DATA, "checkpoints", "small_mla")
SLOW_VISION = ("--ops=ref", "--threads=1")
# A replica that hangs is noticed in about two seconds.
FAST_PROBES = ("--probe_interval_ms=100", "--probe_timeout_ms=500")


def ask(*content, **more):
    parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    return {"messages": [{"role": "user", "content": parts}], "temperature": 0,
            "repetition_penalty": 1, "ignore_eos": True, "max_tokens": 24, **more}


def picture(seed, tiles_wide=1, size=(300, 200)):
    return bytes_part(png_of(*size, seed), tiling={"tiles_wide": tiles_wide, "tiles_high": 1})


class FaultTest(unittest.TestCase):
    def start(self, *args, **more):
        self.cluster = Cluster(BIN, *args, **more)
        self.addCleanup(self.cluster.kill)
        return self.cluster

    def answer(self, body):
        status, answer = self.cluster.chat(body)
        self.assertEqual(status, 200, answer)
        return [choice["message"]["content"] for choice in answer["choices"]]

    def lm(self, name, index=0):
        return self.cluster.metric(self.cluster.lm[index], "vl2_language_" + name)

    def busy_lm(self):
        return max(self.cluster.lm, key=lambda lm: self.cluster.running(lm))

    def stop_process(self, process):
        process.process.send_signal(signal.SIGSTOP)
        self.addCleanup(process.process.send_signal, signal.SIGCONT)

    def vision(self, name, index=0):
        return self.cluster.metric(self.cluster.vision[index], "vl2_vision_" + name)


class Client:
    """A streamed request that can be left at any time."""

    def __init__(self, cluster, body):
        self.connection = cluster.connect()
        self.connection.request("POST", "/v1/chat/completions",
                                json.dumps({**body, "stream": True}))

    def read_text(self):
        """Reads up to the first text."""
        self.response = self.connection.getresponse()
        for line in self.response:
            if b'"content":"' in line and b'"content":""' not in line:
                return
        raise AssertionError("the stream ended without text")

    def leave(self):
        self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.connection.close()


class CancelTest(FaultTest):
    def test_in_each_phase(self):
        # Small chunks keep the victim's prompt in the engine for a while.
        cluster = self.start(vision_flags=SLOW_VISION, lm_flags=["--max_batch_tokens=32"])
        bodies = [ask("Tell a long story.", max_tokens=600), ask("Another one.", max_tokens=600),
                  ask(picture(1), "What is it?", max_tokens=600)]
        alone = [self.answer(body)[0] for body in bodies]
        for phase in (self.while_encoding, self.while_prefilling, self.while_decoding):
            with self.subTest(phase=phase.__name__):
                others = []
                crowd = threading.Thread(target=lambda: others.extend(
                    run_all([lambda body=body: cluster.stream(body) for body in bodies])))
                crowd.start()
                wait_for(lambda: self.cluster.running(self.cluster.lm[0]) >= 3, 10, "the others do not run")
                # Some luck is needed to meet a short phase; it is proved afterwards.
                hit = any(phase(attempt) for attempt in range(5))
                self.assertTrue(crowd.is_alive(), "the others were done before")
                crowd.join()
                self.assertTrue(hit, "five times too early or too late")
                self.assertEqual([text_of(chunks) for chunks in others], alone)
                cluster.assert_idle()

    def cancelled(self):
        """Calls that ended because the client left; the crowd's go on to the end."""
        return self.lm("calls_total") - self.calls_before

    def cancel(self, client):
        """Tokens that the client's sequence had got when it ended."""
        before = self.lm("generated_tokens_total")
        calls = self.lm("calls_total")
        client.leave()
        # Within two steps, and then some for a busy machine.
        wait_for(lambda: self.lm("calls_total") > calls, 5, "the sequence goes on")
        self.assertEqual(self.lm("calls_total") - calls, 1, "another request ended meanwhile")
        return self.lm("generated_tokens_total") - before

    def while_encoding(self, attempt):
        before = self.vision("abandoned_total")
        running = self.cluster.running(self.cluster.lm[0])
        client = Client(self.cluster, ask(picture(100 + attempt, 12), "What is it?"))
        wait_for(lambda: self.vision("tiles_queued") > 0, 10, "nothing is encoded")
        wait_for(lambda: self.cluster.running(self.cluster.lm[0]) > running, 10, "not in the language service")
        self.assertEqual(self.cancel(client), 0)
        wait_for(lambda: self.vision("tiles_queued") == 0, 2, "tiles stay in the queue")
        return self.vision("abandoned_total") == before + 1

    def while_prefilling(self, attempt):
        running = self.cluster.running(self.cluster.lm[0])
        client = Client(self.cluster, ask("%d word " % attempt * 600))
        wait_for(lambda: self.cluster.running(self.cluster.lm[0]) > running, 10, "not admitted")
        return self.cancel(client) == 0

    def while_decoding(self, attempt):
        client = Client(self.cluster, ask("Count to %d." % attempt, max_tokens=3000))
        client.read_text()
        return 0 < self.cancel(client) < 3000


class PreemptionTest(FaultTest):
    def test_a_small_cache(self):
        cluster = self.start(lm_flags=["--cache_tokens=2560"], model=LATENT)
        bodies = [ask("Sequence %d tells a story." % i, max_tokens=500, seed=i) for i in range(6)]
        bodies += [ask(picture(i), "A story about picture %d." % i, max_tokens=400, seed=i)
                   for i in range(4)]
        bodies += [ask("Two stories.", max_tokens=300, n=2, temperature=1, seed=9)]
        alone = [self.answer(body) for body in bodies]
        before = self.lm("preemptions_total")
        crowd = run_all([lambda body=body: self.answer(body) for body in bodies])
        self.assertEqual(crowd, alone)
        self.assertGreater(self.lm("preemptions_total"), before)
        cluster.assert_idle()


class MutualNeedTest(FaultTest):
    """Requests that together need more than there is, each holding a part of it."""

    def together(self, bodies):
        alone = [self.answer(body) for body in bodies]
        crowd = run_all([lambda body=body: self.answer(body) for body in bodies])
        self.assertEqual(crowd, alone)
        self.cluster.assert_idle()

    def test_host_memory(self):
        # A picture of one tile has 421 embeddings of 512 bytes; two fit, three do not.
        self.start(lm_flags=["--max_embedding_bytes=450000"])
        self.together([ask(picture(2 * i), picture(2 * i + 1), "Compare, %d." % i)
                       for i in range(4)] + [ask(picture(50), "One."), ask("None.")])
        refused = ask(picture(60), picture(61), picture(62), "Three.")
        status, answer = self.cluster.chat(refused)
        self.assertEqual(status, 429, answer)
        self.assertIn("450000", answer["error"]["message"])

    def test_cache_blocks_with_cached_prefixes(self):
        # Each needs most of the cache, and finds its beginning in it: pinned by the others while
        # they wait.
        self.start(lm_flags=["--cache_tokens=1152"], model=LATENT)
        pictures = [picture(i) for i in range(2)]
        for each in pictures:
            self.answer(ask(each, "Warm."))
        self.together([ask(pictures[i % 2], "A long question, %d. " % i * 25, max_tokens=200)
                       for i in range(6)])

    def test_both(self):
        self.start(lm_flags=["--cache_tokens=1152", "--max_embedding_bytes=450000"])
        self.together([ask(picture(i % 3), "%d " % i * 60, max_tokens=200) for i in range(8)])


class VisionLossTest(FaultTest):
    # Of a picture with 8 tiles and its global view.
    NUM_BYTES = (14 * 15 + 1 + 14 * (14 * 8 + 1)) * 128 * 4

    def upload_begins(self, before):
        """A part of the picture has been uploaded, and a part is still to come."""
        wait_for(lambda: self.lm("upload_bytes_total") > before, 20, "no upload")
        self.assertLess(self.lm("upload_bytes_total") - before, self.NUM_BYTES)
        self.assertGreater(sum(self.cluster.metric(vision, "vl2_vision_tiles_queued")
                               for vision in self.cluster.vision), 0)

    def busy_vision(self):
        return max(self.cluster.vision, key=lambda vision: self.cluster.metric(
            vision, "vl2_vision_tiles_queued"))

    def test_killed_while_uploading(self):
        cluster = self.start(num_vision=2, vision_flags=SLOW_VISION)
        body = ask(picture(1, 8), "What is it?")
        results = []
        asker = threading.Thread(target=lambda: results.append(cluster.chat(body)))
        asker.start()
        self.upload_begins(0)
        lost = self.busy_vision()
        lost.kill()
        cluster.vision.remove(lost)
        asker.join()
        status, answer = results[0]
        self.assertEqual(status, 200, answer)
        self.assertIn("vision replica lost", cluster.gateway.text())
        cluster.assert_idle()
        # What undisturbed services answer.
        other = Cluster(BIN, vision_flags=SLOW_VISION)
        self.addCleanup(other.kill)
        self.assertEqual(other.chat(body)[1]["choices"][0]["message"]["content"],
                         answer["choices"][0]["message"]["content"])

        # And with no other: an error, soon; text goes on.
        before = self.lm("upload_bytes_total")
        asker = threading.Thread(target=lambda: results.append(
            cluster.chat(ask(picture(2, 8), "And this?"))))
        asker.start()
        self.upload_begins(before)
        killed = time.monotonic()
        cluster.vision.pop().kill()
        asker.join()
        status, answer = results[1]
        self.assertEqual(status, 503, answer)
        self.assertIn("vision", answer["error"]["message"])
        self.assertLess(time.monotonic() - killed, 10)
        cluster.assert_idle()
        self.answer(ask("Only text."))

    def test_embeddings_that_never_come(self):
        cluster = self.start(vision_flags=SLOW_VISION, lm_flags=["--slot_wait_timeout_ms=1500"])
        alone = self.answer(ask("A long story.", max_tokens=1500))
        results = []
        asker = threading.Thread(target=lambda: results.append(
            cluster.chat(ask(picture(1, 8), "What is it?"))))
        asker.start()
        self.upload_begins(0)
        self.stop_process(cluster.vision[0])
        stopped = time.monotonic()
        self.assertEqual(self.answer(ask("A long story.", max_tokens=1500)), alone)
        asker.join()
        status, answer = results[0]
        self.assertEqual(status, 503, answer)
        self.assertIn("did not arrive within 1500 ms", answer["error"]["message"])
        # Five attempts of that time, and the pauses between them.
        self.assertLess(time.monotonic() - stopped, 20)
        cluster.vision[0].process.send_signal(signal.SIGCONT)
        cluster.assert_idle()
        self.answer(ask(picture(1, 2), "What is it?"))

    def test_a_vision_service_that_hangs_is_replaced(self):
        cluster = self.start(num_vision=2, vision_flags=SLOW_VISION, gateway_flags=FAST_PROBES)
        results = []
        asker = threading.Thread(target=lambda: results.append(
            cluster.chat(ask(picture(1, 8), "What is it?"))))
        asker.start()
        self.upload_begins(0)
        hung = self.busy_vision()
        self.stop_process(hung)
        stopped = time.monotonic()
        asker.join()
        status, answer = results[0]
        self.assertEqual(status, 200, answer)
        self.assertLess(time.monotonic() - stopped, 15)
        hung.process.send_signal(signal.SIGCONT)
        self.assertEqual(self.answer(ask(picture(1, 8), "What is it?")),
                         [answer["choices"][0]["message"]["content"]])
        cluster.assert_idle()


class DrainTest(FaultTest):
    def test_a_language_service_that_hangs_is_replaced(self):
        cluster = self.start(num_lm=2, gateway_flags=FAST_PROBES)
        body = ask(picture(1), "A very long story.", max_tokens=3000)
        alone = self.answer(body)[0]
        chunks = []
        hung = None
        for chunk in cluster.open_stream(body):
            chunks.append(chunk)
            if hung is None and len(text_of(chunks)) > 20:
                hung = self.busy_lm()
                self.stop_process(hung)
        self.assertEqual(text_of(chunks), alone)
        hung.process.send_signal(signal.SIGCONT)
        cluster.assert_idle()

    def test_a_language_service_is_drained(self):
        cluster = self.start(num_lm=2, vision_flags=SLOW_VISION)
        story = ask("A very long story.", max_tokens=3500)
        alone = self.answer(story)[0]
        chunks = []
        stopper = None
        for chunk in cluster.open_stream(story):
            chunks.append(chunk)
            if stopper is None and len(text_of(chunks)) > 20:
                drained = self.busy_lm()
                stopper = threading.Thread(target=drained.stop)
                stopper.start()
                cluster.lm.remove(drained)
                # New requests are answered by the other at once.
                self.assertEqual(cluster.chat(ask("Hi"))[0], 200)
        self.assertEqual(text_of(chunks), alone)
        stopper.join()
        self.assertEqual(drained.process.returncode, 0)
        cluster.assert_idle()

    def test_while_a_picture_is_uploaded(self):
        for leaving, how in (("lm", "stop"), ("lm", "kill"), ("vision", "stop")):
            with self.subTest(leaving=leaving, how=how):
                cluster = self.start(num_lm=2, num_vision=2, vision_flags=SLOW_VISION)
                results = []
                asker = threading.Thread(target=lambda: results.append(
                    cluster.chat(ask(picture(1, 4), "What is it?"))))
                asker.start()
                wait_for(lambda: sum(cluster.metric(lm, "vl2_language_upload_bytes_total")
                                     for lm in cluster.lm) > 0, 20, "no upload")
                replicas = getattr(cluster, leaving)
                drained = self.busy_lm() if leaving == "lm" else max(
                    replicas, key=lambda each: cluster.metric(each, "vl2_vision_tiles_queued"))
                replicas.remove(drained)
                if how == "kill":
                    drained.kill()
                else:
                    self.assertEqual(drained.stop(), 0)
                asker.join()
                status, answer = results.pop()
                self.assertEqual(status, 200, answer)
                self.assertEqual(self.answer(ask(picture(1, 4), "What is it?")),
                                 [answer["choices"][0]["message"]["content"]])
                cluster.assert_idle()

    def test_before_the_upload_begins(self):
        """The call is taken, its picture is still on its way, when the service is told to go."""
        cluster = self.start(num_lm=2, vision_flags=SLOW_VISION)
        # The only vision service is busy with another picture for a while.
        results = []
        askers = [threading.Thread(target=lambda i=i: results.append(
            cluster.chat(ask(picture(i, 2), "What is it?")))) for i in range(3)]
        for asker in askers:
            asker.start()
        wait_for(lambda: sum(cluster.running(lm) for lm in cluster.lm) == 3, 10, "not admitted")
        drained = self.busy_lm()
        cluster.lm.remove(drained)
        self.assertEqual(drained.stop(), 0)
        for asker in askers:
            asker.join()
        self.assertEqual([status for status, _ in results], [200] * 3, results)
        cluster.assert_idle()


if __name__ == "__main__":
    unittest.main(argv=sys.argv, verbosity=2, warnings="ignore")
