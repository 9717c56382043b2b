"""From a picture to tiles exactly as the product does it (bit-equal: the product is to Pillow)."""
from typing import List, Sequence, Tuple

import numpy as np
from PIL import Image

TILE = 384
SIDE = 14  # embeddings along a side of a tile
GREY = (127, 127, 127)
# As published: width, height. The first of equals wins.
CANDIDATES = [
    (384, 384), (384, 768), (768, 384), (384, 1152), (1152, 384), (384, 1536), (1536, 384),
    (768, 768), (384, 1920), (1920, 384), (384, 2304), (2304, 384), (768, 1152), (1152, 768),
    (384, 2688), (2688, 384), (384, 3072), (3072, 384), (768, 1536), (1536, 768), (384, 3456),
    (3456, 384), (1152, 1152)]


def best_resolution(width: int, height: int,
                    candidates: Sequence[Tuple[int, int]] = CANDIDATES) -> Tuple[int, int]:
    """Largest effective resolution, then least waste, then first."""
    best, best_effective, least_waste = candidates[0], 0, float("inf")
    for w, h in candidates:
        scale = min(w / width, h / height)
        effective = min(int(width * scale) * int(height * scale), width * height)
        waste = w * h - effective
        if effective > best_effective or (effective == best_effective and waste < least_waste):
            best, best_effective, least_waste = (w, h), effective, waste
    return best


def fitted(size: Tuple[int, int], canvas: Tuple[int, int]) -> Tuple[int, int, int, int]:
    """Width, height, left and top of a picture fitted inside a canvas (Pillow's ImageOps.pad)."""
    width, height = size
    w, h = canvas
    image_ratio, canvas_ratio = width / height, w / h
    if image_ratio != canvas_ratio:
        if image_ratio > canvas_ratio:
            h = round(height / width * w)
        else:
            w = round(width / height * h)
    return w, h, round((canvas[0] - w) * 0.5), round((canvas[1] - h) * 0.5)


def view(image: Image.Image, canvas: Tuple[int, int]) -> Image.Image:
    """The picture in the middle of a grey canvas."""
    w, h, left, top = fitted(image.size, canvas)
    resized = image if image.size == (w, h) else image.resize((w, h), Image.BICUBIC)
    if (w, h) == tuple(canvas):
        return resized
    out = Image.new("RGB", canvas, GREY)
    out.paste(resized, (left, top))
    return out


def tiles_of(image: Image.Image, canvas: Tuple[int, int]) -> List[np.ndarray]:
    """The canvas cut into tiles, row by row; uint8 [384, 384, 3] each."""
    plane = np.asarray(view(image, canvas))
    return [plane[y:y + TILE, x:x + TILE]
            for y in range(0, canvas[1], TILE) for x in range(0, canvas[0], TILE)]
