#!/usr/bin/env python3
"""Images that are alike in part: only the tiles that are new are encoded, and answers stay the same to the last bit.

Usage: tile_reuse_test.py BIN_FOLDER [unittest flags]
"""
import os
import random
import sys
import unittest
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, bytes_part, image_part, png_file  # noqa: E402

BIN = sys.argv.pop(1)
WIDTH = HEIGHT = 1152  # three by three tiles and the global view
TILES = 10
NUM_SCREENSHOTS = 20


class Screen:
    """A desktop: lines of text and windows as blocks of colour. Small things change."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.pixels = [bytearray(b"\xf4\xf4\xf0" * WIDTH) for _ in range(HEIGHT)]
        for _ in range(40):
            self.draw(self.random.randrange(WIDTH - 200), self.random.randrange(HEIGHT - 60),
                      self.random.randrange(40, 200), self.random.randrange(8, 60))

    def draw(self, left, top, width, height):
        colour = self.random.randbytes(3)
        for row in self.pixels[top:top + height]:
            row[3 * left:3 * (left + width)] = colour * width

    def change(self):
        """A word typed, a button pressed: 60 by 20 pixels anywhere."""
        self.draw(self.random.randrange(WIDTH - 60), self.random.randrange(HEIGHT - 20), 60, 20)

    def png(self):
        return png_file(WIDTH, HEIGHT, zlib.compress(b"".join(b"\0" + row for row in self.pixels), 1))


def ask(part, **more):
    return {"temperature": 0, "max_tokens": 8, "ignore_eos": True, "logprobs": True, "top_logprobs": 5,
            "messages": [{"role": "user", "content": [part, {"type": "text", "text": "What changed?"}]}],
            **more}


class TileReuseTest(unittest.TestCase):
    def start(self, *vision_flags):
        cluster = Cluster(BIN, vision_flags=["--threads=2", *vision_flags])
        self.addCleanup(cluster.stop)
        return cluster

    def answer(self, cluster, part):
        status, answer = cluster.chat(ask(part))
        self.assertEqual(status, 200, answer)
        details = answer["usage"]["prompt_tokens_details"]
        for name in ("image_tiles", "reused_image_tiles"):
            self.assertEqual(answer["timings"][name], details[name])
        return answer["choices"][0], details

    def test_screenshots_cost_what_is_new_in_them(self):
        caching, encoding = self.start(), self.start("--tile_cache_bytes=0")
        screen = Screen(1)
        num_reused = 0
        for _ in range(NUM_SCREENSHOTS):
            part = bytes_part(screen.png())
            choice, details = self.answer(caching, part)
            self.assertEqual(details["image_tiles"], TILES)
            num_reused += details["reused_image_tiles"]
            plain, plain_details = self.answer(encoding, part)
            self.assertEqual(plain_details["reused_image_tiles"], 0)
            self.assertEqual(choice, plain, "text and every log-probability")
            screen.change()
        encoded = caching.metric(caching.vision[0], "vl2_vision_tiles_encoded_total")
        self.assertEqual(encoded + num_reused, NUM_SCREENSHOTS * TILES)
        self.assertLessEqual(encoded, NUM_SCREENSHOTS * TILES / 3)
        self.assertEqual(encoding.metric(encoding.vision[0], "vl2_vision_tiles_encoded_total"),
                         NUM_SCREENSHOTS * TILES)
        for result, value in (("hit", num_reused), ("miss", encoded)):
            self.assertEqual(caching.metric(caching.vision[0],
                                            'vl2_vision_tile_cache_requests_total{result="%s"}' % result), value)
        for outcome, value in (("reused", num_reused), ("encoded", encoded)):
            self.assertEqual(caching.metric(caching.vision[0],
                                            'vl2_vision_tiles_requested_total{outcome="%s"}' % outcome), value)
        # Asked for again with another question, the image as a whole is still there: it needs no tile.
        body = ask(part)
        body["messages"][0]["content"].insert(0, {"type": "text", "text": "Look."})
        status, answer = caching.chat(body)
        self.assertEqual(status, 200, answer)
        self.assertEqual(answer["usage"]["prompt_tokens_details"]["reused_image_tiles"], TILES)
        self.assertEqual(caching.metric(caching.vision[0], "vl2_vision_tiles_encoded_total"), encoded)
        caching.assert_idle()

    def test_the_bytes_are_bounded(self):
        cluster = self.start("--cache_bytes=0", "--tile_cache_bytes=%d" % (200 << 10))
        vision = cluster.vision[0]
        self.assertEqual(cluster.metric(vision, "vl2_vision_tile_cache_bytes_limit"), 200 << 10)
        for name in ("scene_640x480.png", "scene_300x420.png", "scene_500x333.png", "scene_400x300.png"):
            self.answer(cluster, image_part(name))
            self.assertLessEqual(cluster.metric(vision, "vl2_vision_tile_cache_bytes"), 200 << 10)
        self.assertGreater(cluster.metric(vision, "vl2_vision_tile_cache_bytes"), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
