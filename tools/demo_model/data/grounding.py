"""Boxes in the published form: <|ref|>label<|/ref|><|det|>[[x1, y1, x2, y2]]<|/det|>, 0..999."""
from typing import Sequence

from .sample import Box, Picture, Thing


def thousandth(value: float, side: float) -> int:
    return min(999, max(0, int(value / side * 999 + 0.5)))


def box_text(box: Box, width: int, height: int) -> str:
    return "[%d, %d, %d, %d]" % (thousandth(box[0], width), thousandth(box[1], height),
                                 thousandth(box[2], width), thousandth(box[3], height))


def in_reading_order(things: Sequence[Thing]) -> list:
    """By the left edge: an order that a picture's eyes can follow without ties."""
    return sorted(things, key=lambda thing: thing.box[0])


def group_text(label: str, things: Sequence[Thing], picture: Picture) -> str:
    width, height = picture.image.size
    boxes = ", ".join(box_text(t.box, width, height) for t in in_reading_order(things))
    return "<|ref|>%s<|/ref|><|det|>[%s]<|/det|>" % (label, boxes)


def ask(label: str) -> str:
    return "<|ref|>%s<|/ref|>" % label
