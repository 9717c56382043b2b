"""Small files that ask for much: each is answered or refused within 2 s of processor time and 256 MiB
of the vision service's memory above idle, and other requests are answered meanwhile.

Usage: image_cost_test.py BIN_FOLDER [unittest flags]
"""
import os
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import costly_images  # noqa: E402
from cluster import Cluster, bytes_part, png_of  # noqa: E402
from process_cost import Cost  # noqa: E402

BIN = sys.argv.pop(1)
for name in ("lm_service", "vision_service", "gateway"):
    if not os.path.exists(os.path.join(BIN, name)):
        print("SKIPPED: %s is not built" % name)
        sys.exit(77)

MAX_CPU_SECONDS = 2
MAX_BYTES = 256 << 20


def request(*files, **part):
    content = [bytes_part(data, tiling={"max_tiles": 1}, **part) for data in files]
    return {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 1}


class ImageCostTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(BIN, vision_flags=("--cache_bytes=0", "--tile_cache_bytes=0", "--threads=1"))
        cls.cost = Cost(cls.cluster.vision[0].process.pid)
        # The first picture pays for what stays.
        cls.cluster.chat(request(costly_images.png(2000, 2000)))

    @classmethod
    def tearDownClass(cls):
        cls.cluster.kill()

    def check(self, name, body, max_seconds=MAX_CPU_SECONDS, max_bytes=MAX_BYTES):
        self.cost.reset()
        status, answer = self.cluster.chat(body)
        seconds, peak = self.cost.used_seconds(), self.cost.peak_bytes()
        message = "" if status == 200 else answer["error"]["message"]
        print("%-34s %d  %5.2f s  %4d MiB  %s" % (name, status, seconds, peak >> 20, message[:90]))
        self.assertIn(status, (200, 400), answer)
        self.assertLessEqual(seconds, max_seconds, name)
        self.assertLessEqual(peak, max_bytes, name)
        self.cluster.assert_idle()
        return status, message

    def test_each_file(self):
        statuses = {}
        for name, data in costly_images.all_files():
            for policy in ("serving", "published"):
                with self.subTest(name, policy=policy):
                    statuses[name], _ = self.check("%s, %s" % (name, policy),
                                                   request(data, policy=policy))
        # What is merely large is answered, what is only text costs nothing.
        for name in ("PNG, RGB", "PNG, large zTXt", "GIF", "WebP that is accepted", "TIFF, Deflate",
                     "JPEG", "JPEG, 12 scans"):
            self.assertEqual(statuses[name], 200, name)
        for name in ("PNG, RGBA of 16 bits, interlaced", "WebP", "JPEG, 20000 scans"):
            self.assertEqual(statuses[name], 400, name)

    def test_many_in_one_request(self):
        # Each alone is within the limit; five together are not.
        pictures = [costly_images.webp(6000, 5900 + i) for i in range(8)]
        status, message = self.check("8 WebPs", request(*pictures), max_bytes=64 << 20)
        self.assertEqual(status, 400)
        self.assertIn("the limit for a request is 1073741824", message)
        status, _ = self.check("4 WebPs", request(*pictures[:4]), 4 * MAX_CPU_SECONDS,
                               2 * MAX_BYTES)
        self.assertEqual(status, 200)

    def test_others_are_answered(self):
        costly = [data for name, data in costly_images.all_files() if name in (
            "PNG, wide", "PNG, large zTXt", "GIF", "WebP that is accepted", "JPEG, CMYK")]
        bad = [threading.Thread(target=self.cluster.chat, args=(request(data),))
               for data in costly * 2]
        for thread in bad:
            thread.start()
        answered = 0
        while any(thread.is_alive() for thread in bad):
            status, answer = self.cluster.chat(request(png_of(64, 64, answered)))
            self.assertEqual(status, 200, answer)
            answered += 1
        for thread in bad:
            thread.join()
        print("%d small pictures beside %d large ones" % (answered, len(bad)))
        self.assertGreater(answered, 1)
        self.cluster.assert_idle()


if __name__ == "__main__":
    unittest.main(argv=sys.argv, verbosity=2, warnings="ignore")
