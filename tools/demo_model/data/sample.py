"""What a generator hands to training and evaluation: pictures, turns, and where everything lies."""
from dataclasses import dataclass, field
from typing import List, Tuple

from PIL import Image

Box = Tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the picture


@dataclass
class Glyph:
    """A printed character; x, y is its centre in pixels of the picture."""
    char: str
    x: float
    y: float
    index: int  # place in its line, from 0


@dataclass
class Thing:
    """A coloured shape."""
    shape: str
    colour: str
    box: Box

    @property
    def centre(self) -> Tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    @property
    def side(self) -> float:
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])

    @property
    def name(self) -> str:
        return self.colour + " " + self.shape


@dataclass
class Picture:
    image: Image.Image  # RGB
    glyphs: List[Glyph] = field(default_factory=list)
    things: List[Thing] = field(default_factory=list)


@dataclass
class Turn:
    """A question and the one right answer. `task` is the row of the evaluation's table."""
    task: str
    question: str
    answer: str
    # Ranges of the answer that are copied from a picture. Training spells them character by
    # character, so that reading does not depend on the vocabulary: the text is the same.
    spelled: bool = False


@dataclass
class Sample:
    """Pictures and turns. Turns are alternatives (each asked alone of the same pictures) unless
    `chained`: then they are one conversation, pictures in front of the first question."""
    pictures: List[Picture]
    turns: List[Turn]
    chained: bool = False
