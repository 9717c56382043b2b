"""Printed text: a word, a line, a paragraph, small print, and a page of scattered words."""
import math
import random
from typing import List, Tuple

from PIL import Image, ImageDraw, ImageFont

from . import words
from .canvas import background, dark_colour, light_colour, wear
from .fonts import pick_font
from .sample import Glyph, Picture, Turn


def print_line(draw: ImageDraw.ImageDraw, x: float, y: float, text: str,
               font: ImageFont.FreeTypeFont, colour) -> List[Glyph]:
    """Draws `text` with its left end of the baseline at (x, y); where its characters are."""
    draw.text((x, y), text, font=font, fill=colour, anchor="ls")
    glyphs = []
    height = font.size * 0.35  # middle of most letters above the baseline
    begin = 0.0
    for index, char in enumerate(text):
        end = font.getlength(text[:index + 1])
        if not char.isspace():
            glyphs.append(Glyph(char, x + (begin + end) / 2, y - height, index))
        begin = end
    return glyphs


def _turned(rng: random.Random, image: Image.Image, glyphs: List[Glyph],
            most: float) -> Image.Image:
    """Turned by up to `most` degrees about its middle, glyph places too."""
    angle = rng.uniform(-most, most)
    edge = image.getpixel((0, 0))
    turned = image.rotate(angle, Image.BICUBIC, fillcolor=edge)
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    cx, cy = image.width / 2, image.height / 2
    for glyph in glyphs:
        dx, dy = glyph.x - cx, glyph.y - cy
        glyph.x, glyph.y = cx + cosine * dx + sine * dy, cy - sine * dx + cosine * dy
    return turned


def _paper(rng: random.Random, width: int, height: int) -> Tuple[Image.Image, tuple]:
    """A sheet and the colour of its ink: mostly dark on light."""
    if rng.random() < 0.15:
        return Image.new("RGB", (width, height), dark_colour(rng)), light_colour(rng)
    return background(rng, width, height), dark_colour(rng, 110)


def make_lines(rng: random.Random, lines: List[str], size: int, font_set: str,
               margin: Tuple[int, int] = (6, 30), turn: float = 2.0) -> Picture:
    """A sheet just large enough for `lines` at `size` pixels, with random margins."""
    font = pick_font(rng, font_set, size)
    ascent, descent = font.getmetrics()
    pitch = int((ascent + descent) * rng.uniform(1.0, 1.3))
    left, right, top, bottom = (rng.randint(*margin) for _ in range(4))
    width = int(max(font.getlength(line) for line in lines)) + left + right + 1
    height = pitch * len(lines) + top + bottom
    image, ink = _paper(rng, width, height)
    draw = ImageDraw.Draw(image)
    glyphs: List[Glyph] = []
    for row, line in enumerate(lines):
        glyphs += print_line(draw, left, top + row * pitch + ascent, line, font, ink)
    if turn > 0 and rng.random() < 0.3:
        image = _turned(rng, image, glyphs, min(turn, 300.0 / max(width, 1)))
    return Picture(wear(rng, image, 0.8 if size >= 24 else 0.4), glyphs=glyphs)


READ = ["What does it say?", "Read the text.", "What is written here?", "What word is this?",
        "What does it say", "what does it say?", "Read this.", "Read the word."]


def make_word(rng: random.Random, font_set: str, longest: int = 8) -> Tuple[Picture, Turn]:
    """One word on one tile, large enough for every character to have a place of its own."""
    text = words.short_text(rng, longest)
    width = rng.randint(280, 384)
    height = int(width * rng.uniform(0.25, 1.0))
    size = min(rng.randint(28, 80), height - 12)
    font = pick_font(rng, font_set, size)
    if font.getlength(text) > 0.92 * width:  # sizes 26 and up always fit 8 letters
        size = max(26, int(size * 0.92 * width / font.getlength(text)))
        font = font.font_variant(size=size)
    ascent, descent = font.getmetrics()
    image, ink = _paper(rng, width, height)
    room = max(6, int(width - font.getlength(text)) - 6)
    x, y = rng.randint(5, room), rng.randint(0, max(1, height - ascent - descent)) + ascent
    glyphs = print_line(ImageDraw.Draw(image), x, y, text, font, ink)
    if rng.random() < 0.3:
        image = _turned(rng, image, glyphs, 3.0)
    picture = Picture(wear(rng, image, 0.8), glyphs=glyphs)
    return fit(picture, 384), Turn("word", rng.choice(READ), text, spelled=True)


def make_line(rng: random.Random, font_set: str) -> Tuple[Picture, Turn]:
    """Two to five words in one line; may take two or three tiles."""
    text = " ".join(words.word(rng) for _ in range(rng.randint(2, 5)))
    picture = make_lines(rng, [text], rng.randint(22, 48), font_set)
    return picture, Turn("line", rng.choice(READ[:3]), text, spelled=True)


def wrap(text: str, columns: int) -> List[str]:
    lines, line = [], ""
    for part in text.split():
        if line and len(line) + 1 + len(part) > columns:
            lines.append(line)
            line = part
        else:
            line = (line + " " + part).strip()
    return lines + [line]


def make_paragraph(rng: random.Random, font_set: str, small: bool = False) -> Tuple[Picture, Turn]:
    """A short paragraph. Small print: letters too small for the global view, legible in tiles."""
    text = " ".join(words.sentence(rng) for _ in range(rng.randint(2, 4 if small else 3)))
    lines = wrap(text, rng.randint(24, 40) if small else rng.randint(14, 24))
    size = rng.randint(16, 20) if small else rng.randint(22, 32)
    picture = make_lines(rng, lines, size, font_set, turn=1.0)
    return picture, Turn("small_print" if small else "paragraph", rng.choice(READ[:3]),
                         " ".join(lines), spelled=True)


def make_page(rng: random.Random, font_set: str, smallest: int = 22, largest: int = 64) -> Picture:
    """Words all over one tile, several sizes and fonts: the densest lesson in letters."""
    side = 384
    image, ink = _paper(rng, side, side)
    draw = ImageDraw.Draw(image)
    glyphs: List[Glyph] = []
    y = 4
    while True:
        size = int(round(math.exp(rng.uniform(math.log(smallest), math.log(largest)))))
        font = pick_font(rng, font_set, size)
        ascent, descent = font.getmetrics()
        if y + ascent + descent > side:
            break
        x = rng.randint(2, 40)
        while True:
            text = words.short_text(rng, 9)
            length = font.getlength(text)
            if x + length > side - 4:
                break
            glyphs += print_line(draw, x, y + ascent, text, font, ink)
            x += int(length + size * rng.uniform(0.3, 1.5))
        y += int((ascent + descent) * rng.uniform(1.0, 1.6))
    image = _turned(rng, image, glyphs, 2.0) if rng.random() < 0.3 else image
    return Picture(wear(rng, image, 0.8), glyphs=glyphs)


def fit(picture: Picture, side: int) -> Picture:
    """Reduced where a side is longer than `side`, so that it stays one tile."""
    width, height = picture.image.size
    scale = side / max(width, height)
    if scale >= 1:
        return picture
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    picture.image = picture.image.resize(size, Image.BICUBIC)
    for glyph in picture.glyphs:
        glyph.x, glyph.y = glyph.x * scale, glyph.y * scale
    for thing in picture.things:
        thing.box = tuple(v * scale for v in thing.box)
    return picture
