#!/usr/bin/env python3
"""Writes resize_cases.csv: SHA-256 of Pillow's bicubic resize of generated noise.

Made with Pillow 9.4. Noise byte i is bits 16..23 of the i-th state of a 32-bit linear congruential
generator seeded with the width and height; `binary` noise is 0 or 255, which makes sums overshoot
on both sides.
"""
import hashlib
import os

from PIL import Image


def noise(width, height, binary):
    state = (width * 7919 + height) & 0xFFFFFFFF
    out = bytearray(width * height * 3)
    for i in range(len(out)):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = (255 if state >> 31 else 0) if binary else (state >> 16) & 255
    return bytes(out)


CASES = [
    # in_width, in_height, out_width, out_height, binary
    (1, 1, 384, 384, 0), (1, 1, 1, 1, 0), (2, 3, 7, 5, 0), (3, 2, 384, 256, 1),
    (20, 10, 384, 192, 0), (64, 64, 64, 64, 0), (64, 64, 64, 31, 1), (64, 64, 31, 64, 1),
    (64, 64, 64, 200, 0), (64, 64, 200, 64, 0), (100, 80, 99, 81, 1), (101, 79, 50, 40, 1),
    (301, 203, 384, 259, 0), (301, 203, 383, 258, 1), (257, 129, 384, 193, 1),
    (640, 480, 384, 288, 0), (640, 480, 768, 576, 1), (500, 333, 768, 511, 0),
    (1000, 3, 384, 1, 0), (1000, 3, 384, 2, 1), (3, 1000, 1, 384, 0), (3000, 2, 2, 1, 1),
    (1500, 11, 384, 3, 0), (13, 900, 6, 384, 1), (799, 601, 33, 25, 0), (799, 601, 1152, 867, 1),
    (5, 5, 2, 2, 1), (17, 17, 16, 16, 1), (16, 16, 17, 17, 1), (333, 7, 1, 1, 0), (7, 333, 1, 1, 1),
    (1024, 16, 3456, 54, 0), (384, 384, 1152, 1152, 0), (2000, 151, 1152, 87, 1),
]

with open(os.path.join(os.path.dirname(__file__), "resize_cases.csv"), "w") as file:
    file.write("in_width,in_height,out_width,out_height,binary,sha256\n")
    for iw, ih, ow, oh, binary in CASES:
        image = Image.frombytes("RGB", (iw, ih), noise(iw, ih, binary))
        resized = image.resize((ow, oh), Image.Resampling.BICUBIC)
        digest = hashlib.sha256(resized.tobytes()).hexdigest()
        file.write(f"{iw},{ih},{ow},{oh},{binary},{digest}\n")
