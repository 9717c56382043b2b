"""Receipts, small tables and bar charts, with questions on a cell, a total, a bar."""
import random
from typing import List, Tuple

from PIL import ImageDraw

from . import words
from .canvas import background, dark_colour, wear
from .fonts import pick_font
from .sample import Glyph, Picture, Sample, Turn
from .scene import COLOURS
from .text import fit, print_line

GOODS = ["Apples", "Bread", "Milk", "Cheese", "Eggs", "Coffee", "Tea", "Rice", "Pasta", "Butter",
         "Honey", "Soap", "Paper", "Candles", "Salt", "Sugar", "Juice", "Water", "Pears", "Soup"]
COLUMNS = ["Price", "Count", "Weight", "Age", "Points", "Year", "Size", "Score", "Cost", "Hours"]
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


def _pick(rng: random.Random, turns: List[Turn], number: int) -> List[Turn]:
    rng.shuffle(turns)
    return turns[:number]


def receipt_sample(rng: random.Random, fonts: str, questions: int) -> Sample:
    items = [(name, rng.randint(50, 2999)) for name in rng.sample(GOODS, rng.randint(2, 6))]
    total = sum(cents for _, cents in items)
    size = rng.randint(20, 26)
    font = pick_font(rng, fonts, size)
    pitch = int(size * rng.uniform(1.3, 1.7))
    shop = rng.choice(words.NAMES) + "'s " + rng.choice(["Shop", "Market", "Store", "Corner"])
    width = int(size * rng.uniform(11, 15))
    height = pitch * (len(items) + 4) + 20
    image = background(rng, width, height, 225)
    draw = ImageDraw.Draw(image)
    ink = dark_colour(rng, 70)
    glyphs: List[Glyph] = print_line(draw, 14, 14 + size, shop, font, ink)
    y = 14 + size + pitch
    for name, cents in items + [("Total", total)]:
        if name == "Total":
            draw.line((14, y + 2, width - 14, y + 2), fill=ink)
            y += pitch // 2
        price = "%d.%02d" % (cents // 100, cents % 100)
        glyphs += print_line(draw, 14, y + size, name, font, ink)
        glyphs += print_line(draw, width - 14 - font.getlength(price), y + size, price, font, ink)
        y += pitch
    turns = [Turn("receipt", "What is the total?", "%d.%02d" % (total // 100, total % 100), True),
             Turn("receipt", "How many items are on the receipt?", "There are %d." % len(items)),
             Turn("receipt", "What is the name of the shop?", shop, True)]
    turns += [Turn("receipt", "How much is the %s?" % name.lower() if name[-1] != "s" else
                   "How much are the %s?" % name.lower(), "%d.%02d" % (c // 100, c % 100), True)
              for name, c in items]
    return Sample([Picture(wear(rng, image, 0.6), glyphs=glyphs)], _pick(rng, turns, questions))


def table_sample(rng: random.Random, fonts: str, questions: int) -> Sample:
    rows = rng.sample(words.NAMES, rng.randint(2, 5))
    columns = rng.sample(COLUMNS, rng.randint(2, 3))
    cells = [[str(rng.randint(1, 999)) for _ in columns] for _ in rows]
    size = rng.randint(19, 26)
    font = pick_font(rng, fonts, size)
    pitch, step = int(size * 1.7), int(size * rng.uniform(4.2, 5.2))
    width, height = step * (len(columns) + 1) + 20, pitch * (len(rows) + 1) + 20
    image = background(rng, width, height, 225)
    draw = ImageDraw.Draw(image)
    ink = dark_colour(rng, 70)
    glyphs: List[Glyph] = []
    for r, line in enumerate([["Name"] + columns] + [[n] + c for n, c in zip(rows, cells)]):
        y = 10 + r * pitch
        if rng.random() < 0.9:
            draw.line((10, y + pitch, width - 10, y + pitch), fill=ink)
        for c, cell in enumerate(line):
            glyphs += print_line(draw, 14 + c * step, y + int(pitch * 0.72), cell, font, ink)
    turns = [Turn("table", "What is the %s of %s?" % (columns[c].lower(), rows[r]), cells[r][c],
                  True) for r in range(len(rows)) for c in range(len(columns))]
    turns.append(Turn("table", "How many rows does the table have?", "There are %d." % len(rows)))
    return Sample([Picture(wear(rng, image, 0.6), glyphs=glyphs)], _pick(rng, turns, questions))


def chart_sample(rng: random.Random, fonts: str, questions: int) -> Sample:
    labels = rng.choice([MONTHS, DAYS])
    first, number = rng.randrange(len(labels)), rng.randint(3, 6)
    names = [labels[(first + i) % len(labels)] for i in range(number)]
    values = rng.sample(range(5, 100), number)
    width, height = rng.randint(320, 384), rng.randint(280, 384)
    image = background(rng, width, height, 225)
    draw = ImageDraw.Draw(image)
    ink = dark_colour(rng, 60)
    font = pick_font(rng, fonts, rng.randint(20, 24))
    step, base = (width - 30) // number, height - 36
    glyphs: List[Glyph] = []
    colour = tuple(COLOURS[rng.choice(list(COLOURS))])
    for i, (name, value) in enumerate(zip(names, values)):
        x = 15 + i * step
        top = base - int(value / 100 * (base - 40))
        draw.rectangle((x + step * 0.15, top, x + step * 0.85, base), fill=colour)
        for text, y in ((str(value), top - 6), (name, base + font.size + 2)):
            left = x + (step - font.getlength(text)) / 2
            glyphs += print_line(draw, left, y, text, font, ink)
    draw.line((10, base, width - 10, base), fill=ink, width=2)
    turns = [Turn("chart", "What is the value of %s?" % n, str(v), True)
             for n, v in zip(names, values)]
    order = sorted(zip(values, names))
    turns += [Turn("chart", "Which bar is the highest?", order[-1][1], True),
              Turn("chart", "Which bar is the lowest?", order[0][1], True),
              Turn("chart", "How many bars are there?", "There are %d." % number)]
    return Sample([fit(Picture(wear(rng, image, 0.6), glyphs=glyphs), 384)],
                  _pick(rng, turns, questions))
