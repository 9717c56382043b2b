"""Pictures of other programs than the one that drew the training pictures: a page in Chromium, Cairo,
ImageMagick. Their letters are hinted, spaced and smoothed in their own ways."""
import io
import os
import subprocess
import tempfile
from typing import Iterator, List, Tuple

from PIL import Image

from ..data.scene import COLOURS, outline
from .questions import Question

# Renderer; what to draw: a word, or shapes (name, middle and radius in thousandths of the side);
# question; answer.
Thing = Tuple[str, str, int, int, int]
READ = "What does it say?"
WORDS = [("chromium", "Hello", "sans-serif"), ("chromium", "garden", "serif"),
         ("chromium", "WINDOW", "sans-serif"), ("chromium", "2026", "monospace"),
         ("cairo", "river", "DejaVu Sans"), ("cairo", "Morning", "Liberation Serif"),
         ("cairo", "TRAIN", "FreeSans"), ("imagemagick", "paper", "DejaVu-Sans"),
         ("imagemagick", "Bridge", "DejaVu-Serif"), ("imagemagick", "4711", "DejaVu-Sans")]
SCENES: List[Tuple[str, List[Thing], str, str]] = [
    ("chromium", [("circle", "red", 300, 350, 150)], "What colour is the circle?", "It is red."),
    ("chromium", [("square", "blue", 650, 300, 120), ("circle", "green", 250, 700, 130)],
     "What shape is green?", "It is a circle."),
    ("chromium", [("triangle", "orange", 250, 300, 140), ("square", "black", 700, 650, 140)],
     "How many shapes are there?", "There are 2."),
    ("chromium", [("square", "purple", 200, 200, 110)], "Where is the purple square?",
     "At the top left."),
    ("cairo", [("triangle", "red", 650, 650, 150)], "What shape is red?", "It is a triangle."),
    ("cairo", [("circle", "yellow", 250, 250, 120), ("diamond", "blue", 700, 300, 130)],
     "What colour is the diamond?", "It is blue."),
    ("cairo", [("square", "green", 500, 500, 160)], "Is there a green square?", "Yes."),
    ("imagemagick", [("circle", "pink", 600, 400, 150)], "What colour is the circle?",
     "It is pink."),
    ("imagemagick", [("diamond", "red", 250, 500, 140), ("square", "blue", 700, 500, 130)],
     "Is the red diamond left of the blue square?", "Yes."),
    ("imagemagick", [("circle", "black", 250, 250, 110), ("circle", "red", 700, 250, 120),
                     ("circle", "blue", 450, 700, 130)], "How many circles are there?",
     "There are 3."),
]
SIDE = 360           # of a scene, pixels
WORD = (360, 160)    # of a word's picture
LETTERS = 56         # pixels


def _placed(thing: Thing):
    """Colour, middle, radius, and corners; None instead of these for a circle."""
    shape, colour, *place = thing
    x, y, r = (v * SIDE / 1000 for v in place)
    return COLOURS[colour], x, y, r, outline(shape, (x - r, y - r, x + r, y + r))


def _chromium(body: str, size: Tuple[int, int]) -> Image.Image:
    with tempfile.TemporaryDirectory(prefix="vl2page") as folder:
        page, shot = os.path.join(folder, "page.html"), os.path.join(folder, "shot.png")
        with open(page, "w") as file:
            file.write("<!doctype html><body style='margin:0;background:#fff'>%s" % body)
        subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu",
                        "--hide-scrollbars", "--user-data-dir=" + folder, "--screenshot=" + shot,
                        "--window-size=%d,%d" % size, "file://" + page], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
        return Image.open(shot).convert("RGB")


def chromium_word(text: str, family: str) -> Image.Image:
    return _chromium("<p style='font:%dpx %s;margin:40px 30px'>%s" % (LETTERS, family, text), WORD)


def chromium_scene(things: List[Thing]) -> Image.Image:
    parts = []
    for thing in things:
        rgb, x, y, r, corners = _placed(thing)
        if corners is None:
            parts.append("<circle cx='%f' cy='%f' r='%f' fill='rgb%s'/>" % (x, y, r, rgb))
        else:
            points = " ".join("%f,%f" % p for p in corners)
            parts.append("<polygon points='%s' fill='rgb%s'/>" % (points, rgb))
    return _chromium("<svg width='%d' height='%d'>%s</svg>" % (SIDE, SIDE, "".join(parts)),
                     (SIDE, SIDE))


def _cairo(size: Tuple[int, int], draw) -> Image.Image:
    import cairo  # Debian: python3-cairo
    surface = cairo.ImageSurface(cairo.FORMAT_RGB24, *size)
    context = cairo.Context(surface)
    context.set_source_rgb(1, 1, 1)
    context.paint()
    draw(context)
    data = io.BytesIO()
    surface.write_to_png(data)
    return Image.open(data).convert("RGB")


def cairo_word(text: str, family: str) -> Image.Image:
    def draw(context) -> None:
        context.set_source_rgb(0.1, 0.1, 0.2)
        context.select_font_face(family)
        context.set_font_size(LETTERS)
        context.move_to(30, 100)
        context.show_text(text)
    return _cairo(WORD, draw)


def cairo_scene(things: List[Thing]) -> Image.Image:
    def draw(context) -> None:
        for thing in things:
            rgb, x, y, r, corners = _placed(thing)
            context.set_source_rgb(*(v / 255 for v in rgb))
            if corners is None:
                context.arc(x, y, r, 0, 6.2832)
            else:
                for corner in corners:
                    context.line_to(*corner)
                context.close_path()
            context.fill()
    return _cairo((SIDE, SIDE), draw)


def _imagemagick(size: Tuple[int, int], *drawing: str) -> Image.Image:
    out = subprocess.run(["convert", "-size", "%dx%d" % size, "xc:white", *drawing, "png:-"],
                         check=True, stdout=subprocess.PIPE, timeout=60).stdout
    return Image.open(io.BytesIO(out)).convert("RGB")


def imagemagick_word(text: str, family: str) -> Image.Image:
    return _imagemagick(WORD, "-font", family, "-pointsize", str(LETTERS), "-fill", "#202028",
                        "-annotate", "+30+100", text)


def imagemagick_scene(things: List[Thing]) -> Image.Image:
    drawing: List[str] = []
    for thing in things:
        rgb, x, y, r, corners = _placed(thing)
        if corners is None:
            what = "circle %f,%f %f,%f" % (x, y, x + r, y)
        else:
            what = "polygon " + " ".join("%f,%f" % p for p in corners)
        drawing += ["-fill", "rgb(%d,%d,%d)" % rgb, "-draw", what]
    return _imagemagick((SIDE, SIDE), *drawing)


DRAW = {"chromium": (chromium_word, chromium_scene), "cairo": (cairo_word, cairo_scene),
        "imagemagick": (imagemagick_word, imagemagick_scene)}


def renderer_questions() -> Iterator[Question]:
    """Twenty pictures, one question each; the task is the renderer and what it drew."""
    for number, (renderer, text, family) in enumerate(WORDS):
        yield Question(number, renderer + " word", [DRAW[renderer][0](text, family)], [READ],
                       [text])
    for number, (renderer, things, question, answer) in enumerate(SCENES, len(WORDS)):
        yield Question(number, renderer + " scene", [DRAW[renderer][1](things)], [question],
                       [answer])
