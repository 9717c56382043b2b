"""Pictures of coloured shapes that do not overlap."""
import math
import random
from typing import List, Optional, Sequence, Tuple

from PIL import Image, ImageDraw

from .canvas import background, wear
from .sample import Box, Picture, Thing

SHAPES = ["circle", "square", "triangle", "star", "cross", "diamond"]
COLOURS = {
    "red": (215, 30, 35), "green": (30, 150, 50), "blue": (35, 70, 210), "yellow": (245, 215, 30),
    "orange": (245, 135, 20), "purple": (125, 40, 160), "black": (20, 20, 20),
    "pink": (250, 130, 180),
}
SUPERSAMPLE = 2  # shapes are drawn twice as large and reduced: smooth edges


def _star(cx: float, cy: float, radius: float) -> List[Tuple[float, float]]:
    points = []
    for i in range(10):
        r = radius if i % 2 == 0 else radius * 0.42
        angle = -math.pi / 2 + i * math.pi / 5
        points.append((cx + r * math.cos(angle), cy + r * math.sin(angle)))
    return points


def outline(shape: str, box: Box) -> Optional[List[Tuple[float, float]]]:
    """Corners of a shape that fills `box`; None for a circle."""
    x1, y1, x2, y2 = box
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    third_x, third_y = (x2 - x1) / 3, (y2 - y1) / 3
    if shape == "circle":
        return None
    if shape == "square":
        return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    if shape == "triangle":
        return [(cx, y1), (x2, y2), (x1, y2)]
    if shape == "diamond":
        return [(cx, y1), (x2, cy), (cx, y2), (x1, cy)]
    if shape == "cross":
        a, b, c, d = x1 + third_x, x2 - third_x, y1 + third_y, y2 - third_y
        return [(a, y1), (b, y1), (b, c), (x2, c), (x2, d), (b, d), (b, y2), (a, y2), (a, d),
                (x1, d), (x1, c), (a, c)]
    star = _star(cx, cy, (x2 - x1) / 2)
    low_x, high_x = min(p[0] for p in star), max(p[0] for p in star)
    low_y, high_y = min(p[1] for p in star), max(p[1] for p in star)
    return [(x1 + (x - low_x) / (high_x - low_x) * (x2 - x1),
             y1 + (y - low_y) / (high_y - low_y) * (y2 - y1)) for x, y in star]


def _shade(rng: random.Random, colour: str) -> Tuple[int, int, int]:
    jitter = 6 if colour == "black" else 14
    return tuple(min(255, max(0, v + rng.randint(-jitter, jitter))) for v in COLOURS[colour])


def draw_things(rng: random.Random, image: Image.Image, things: Sequence[Thing]) -> Image.Image:
    scale = SUPERSAMPLE
    big = image.resize((image.width * scale, image.height * scale), Image.NEAREST)
    draw = ImageDraw.Draw(big)
    for thing in things:
        box = tuple(v * scale for v in thing.box)
        shade = _shade(rng, thing.colour)
        corners = outline(thing.shape, box)
        if corners is None:
            draw.ellipse(box, fill=shade)
        else:
            draw.polygon(corners, fill=shade)
    return big.resize(image.size, Image.BOX)


def _place(rng: random.Random, taken: List[Box], width: int, height: int,
           side: float) -> Optional[Box]:
    gap = 6
    for _ in range(30):
        x1 = rng.uniform(4, width - side - 4)
        y1 = rng.uniform(4, height - side - 4)
        box = (x1, y1, x1 + side, y1 + side)
        if all(box[2] + gap < t[0] or t[2] + gap < box[0] or box[3] + gap < t[1] or
               t[3] + gap < box[1] for t in taken):
            return box
    return None


def random_size(rng: random.Random, low: int, high: int, square_share: float) -> Tuple[int, int]:
    """Sides of a picture; a share of them square, the rest within 3:2."""
    width = rng.randint(low, high)
    if rng.random() < square_share:
        return width, width
    height = int(width * rng.uniform(0.66, 1.5))
    return width, min(high, max(low, height))


def make_scene(rng: random.Random, most: int = 5, low: int = 240, high: int = 384,
               square_share: float = 0.6) -> Picture:
    """1..most shapes. Two alike (same shape, same colour) are allowed but rare."""
    width, height = random_size(rng, low, high, square_share)
    things: List[Thing] = []
    boxes: List[Box] = []
    short = min(width, height)
    few_colours = rng.sample(list(COLOURS), rng.randint(2, len(COLOURS)))
    few_shapes = rng.sample(SHAPES, rng.randint(2, len(SHAPES)))
    for _ in range(rng.randint(1, most)):
        side = rng.uniform(0.13, 0.36 if most <= 5 else 0.28) * short
        box = _place(rng, boxes, width, height, side)
        if box is None:
            continue
        shape, colour = rng.choice(few_shapes), rng.choice(few_colours)
        if any(t.shape == shape and t.colour == colour for t in things) and rng.random() < 0.6:
            continue
        boxes.append(box)
        things.append(Thing(shape, colour, box))
    image = draw_things(rng, background(rng, width, height), things)
    return Picture(wear(rng, image), things=things)
