"""Loss and accuracy curves as a picture, with nothing but Pillow."""
import math
from typing import Dict, List, Tuple

from PIL import Image, ImageDraw

Series = Dict[str, List[Tuple[float, float]]]  # name: (minute, value)
INKS = ["#c0392b", "#2471a3", "#1e8449", "#9a7d0a", "#7d3c98", "#d35400", "#117864", "#5d6d7e",
        "#e84393", "#000000"]


def _panel(draw: ImageDraw.ImageDraw, box: Tuple[int, int, int, int], title: str,
           series: Series, logarithmic: bool) -> None:
    x1, y1, x2, y2 = box
    draw.rectangle(box, outline="#999999")
    draw.text((x1, y1 - 14), title, fill="black")
    points = [(m, v) for values in series.values() for m, v in values
              if math.isfinite(v) and (v > 0 or not logarithmic)]
    if not points:
        return
    scale = math.log if logarithmic else (lambda v: v)
    last = max(max(m for m, _ in points), 1e-9)
    low, high = (min(scale(v) for _, v in points), max(scale(v) for _, v in points)) \
        if logarithmic else (0.0, 1.0)
    high = high if high > low else low + 1

    def place(minute: float, value: float) -> Tuple[float, float]:
        return (x1 + minute / last * (x2 - x1),
                y2 - (scale(value) - low) / (high - low) * (y2 - y1))

    for i, (name, values) in enumerate(series.items()):
        ink = INKS[i % len(INKS)]
        line = [place(m, v) for m, v in values if math.isfinite(v) and (v > 0 or not logarithmic)]
        if len(line) > 1:
            draw.line(line, fill=ink, width=2)
        if values:
            draw.text((x2 + 6, y1 + 13 * i), "%s %.3f" % (name, values[-1][1]), fill=ink)
    draw.text((x1, y2 + 2), "0", fill="black")
    draw.text((x2 - 40, y2 + 2), "%.1f min" % last, fill="black")


def draw_curves(path: str, losses: Series, shares: Series) -> None:
    """Losses above (logarithmic), shares of right answers below."""
    image = Image.new("RGB", (900, 640), "white")
    draw = ImageDraw.Draw(image)
    _panel(draw, (20, 24, 740, 300), "loss (logarithmic)", losses, True)
    _panel(draw, (20, 334, 740, 610), "share right, last batches of training", shares, False)
    image.save(path)
