"""What a preset trains: sizes, data, batches, rates."""
from dataclasses import dataclass

from ..modeling.shape import SHAPES, Shape


@dataclass(frozen=True)
class Preset:
    shape: Shape
    font_set: str
    most_things: int       # shapes of a scene
    text_share: float      # of the tower's pictures; the rest are scenes
    smallest_print: int    # pixels, of the scattered words the tower learns from
    mix: str               # of tasks, see data/mix.py
    tower_batch: int       # pictures
    joint_batch: int       # one-tile pictures; larger pictures come in smaller batches
    questions: int         # alternative ones of a picture
    tower_rate: float      # learning rates
    joint_rate: float
    tower_share: float     # of the time, for the first stage
    language_share: float  # of the time, for the language model alone; the rest is for all of it


PRESETS = {
    "cpu": Preset(SHAPES["cpu"], "plain", most_things=5, text_share=0.6, smallest_print=30,
                  mix="cpu", tower_batch=4, joint_batch=4, questions=10, tower_rate=2e-3,
                  joint_rate=1.2e-3, tower_share=0.42, language_share=0.36),
    "shapes": Preset(SHAPES["cpu"], "plain", most_things=5, text_share=0.0, smallest_print=26,
                     mix="shapes", tower_batch=4, joint_batch=4, questions=10, tower_rate=2e-3,
                     joint_rate=1.2e-3, tower_share=0.42, language_share=0.4),
    "gpu": Preset(SHAPES["gpu"], "all", most_things=8, text_share=0.55, smallest_print=16,
                  mix="gpu", tower_batch=128, joint_batch=96, questions=8, tower_rate=1.5e-3,
                  joint_rate=8e-4, tower_share=0.22,
                  language_share=0.1),
    "tiny": Preset(SHAPES["tiny"], "plain", most_things=3, text_share=0.55, smallest_print=26,
                   mix="cpu", tower_batch=2, joint_batch=2, questions=2, tower_rate=1e-3,
                   joint_rate=1e-3, tower_share=0.4,
                   language_share=0.3),
}
