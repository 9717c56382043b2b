"""Backgrounds, and the wear that real pictures have: noise, blur, JPEG."""
import io
import random
from typing import Tuple

import numpy as np
from PIL import Image, ImageFilter

Rgb = Tuple[int, int, int]


def light_colour(rng: random.Random, low: int = 205) -> Rgb:
    return (rng.randint(low, 255), rng.randint(low, 255), rng.randint(low, 255))


def dark_colour(rng: random.Random, high: int = 80) -> Rgb:
    return (rng.randint(0, high), rng.randint(0, high), rng.randint(0, high))


def background(rng: random.Random, width: int, height: int, low: int = 205) -> Image.Image:
    """A light picture: plain, or a soft gradient between two light colours."""
    first = np.array(light_colour(rng, low), np.float32)
    if rng.random() < 0.6:
        return Image.new("RGB", (width, height), tuple(int(v) for v in first))
    second = np.array(light_colour(rng, low), np.float32)
    side = width if rng.random() < 0.5 else height
    ramp = np.linspace(0, 1, side, dtype=np.float32)[:, None]
    line = (first * (1 - ramp) + second * ramp).astype(np.uint8)
    plane = line[None, :, :] if side == width else line[:, None, :]
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(plane, (height, width, 3))))


def wear(rng: random.Random, image: Image.Image, amount: float = 1.0) -> Image.Image:
    """Blur, noise and JPEG, each at times; about a third of pictures stay clean."""
    if rng.random() < 0.2 * amount:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9 * amount)))
    if rng.random() < 0.3 * amount:
        noise = np.random.default_rng(rng.getrandbits(32))
        plane = noise.integers(-128, 128, (image.height, image.width, 1), dtype=np.int16)
        plane = plane * rng.randint(4, 24) // 128
        image = Image.fromarray(np.clip(np.asarray(image, np.int16) + plane, 0, 255)
                                .astype(np.uint8))
    if rng.random() < 0.35 * amount:
        data = io.BytesIO()
        image.save(data, "JPEG", quality=rng.randint(45, 95))
        image = Image.open(io.BytesIO(data.getvalue())).convert("RGB")
    return image
