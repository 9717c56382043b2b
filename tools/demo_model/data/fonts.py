"""Free fonts of Debian packages: which are trained on, which are kept for the evaluation."""
import functools
import os
import random
from typing import Dict, List

from PIL import ImageFont

# Debian packages; `collect_fonts` copies their files to a folder that can travel.
PACKAGES = [
    "fonts-dejavu-core", "fonts-liberation2", "fonts-freefont-ttf", "fonts-open-sans",
    "fonts-roboto-unhinted", "fonts-lato", "fonts-inconsolata", "fonts-hack", "fonts-cantarell",
    "fonts-crosextra-carlito", "fonts-crosextra-caladea", "fonts-linuxlibertine",
    "fonts-quicksand", "fonts-cabin", "fonts-ebgaramond", "fonts-jetbrains-mono", "fonts-go",
    "fonts-vollkorn", "fonts-croscore", "fonts-mononoki",
]

# File names without extension. The plain set is what the small preset learns.
PLAIN = [
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "LiberationSans-Regular",
    "LiberationSans-Bold", "LiberationSerif-Regular", "FreeSans", "OpenSans-Regular",
    "OpenSans-Semibold", "Roboto-Regular", "Roboto-Medium", "Lato-Regular", "Lato-Bold",
]
FURTHER = [
    "DejaVuSansMono", "DejaVuSerif-Bold", "DejaVuSansCondensed", "LiberationMono-Regular",
    "LiberationSerif-Bold", "LiberationSans-Italic", "FreeSerif", "FreeMono", "FreeSansBold",
    "OpenSans-Bold", "OpenSans-Light", "OpenSans-CondLight", "Roboto-Bold",
    "RobotoCondensed-Regular", "Lato-Medium", "Lato-Italic", "Inconsolata",
    "Cantarell-Regular", "Caladea-Regular",
    "LinLibertine_R", "Quicksand-Medium", "EBGaramond12-Regular", 
    "JetBrainsMono-Regular", "Go-Regular", "Go-Mono",
]
# Families of which no file is ever trained on.
HELD_OUT = ["Carlito-Regular", "Hack-Regular", "Vollkorn-Regular", "Cabin-Regular",
            "mononoki-Regular", "Carlito-Bold", "Cabin-SemiBold"]
SETS = {"plain": PLAIN, "all": PLAIN + FURTHER, "held_out": HELD_OUT}


def font_folders() -> List[str]:
    """Where fonts are looked for, first found first."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(
        os.path.abspath(__file__)))))
    return [os.environ.get("VL2_DEMO_FONTS", ""), os.path.join(root, "build", "demo_fonts"),
            "/usr/share/fonts"]


@functools.lru_cache(maxsize=None)
def font_files() -> Dict[str, str]:
    """Path of every font by its file name without extension."""
    found: Dict[str, str] = {}
    for folder in font_folders():
        for base, _, names in sorted(os.walk(folder)) if folder else []:
            for name in sorted(names):
                stem, extension = os.path.splitext(name)
                if extension.lower() in (".ttf", ".otf"):
                    found.setdefault(stem, os.path.join(base, name))
    return found


@functools.lru_cache(maxsize=512)
def load_font(stem: str, size: int) -> ImageFont.FreeTypeFont:
    """The font at a size in pixels; a missing one is an error, since data would differ."""
    path = font_files().get(stem)
    if path is None:
        raise RuntimeError("font %s is missing: apt-get install %s" % (stem, " ".join(PACKAGES)))
    return ImageFont.truetype(path, size)


def pick_font(rng: random.Random, font_set: str, size: int) -> ImageFont.FreeTypeFont:
    return load_font(rng.choice(SETS[font_set]), size)


def has_fonts(font_set: str) -> bool:
    """Whether this machine has all of a set."""
    return all(stem in font_files() for stem in SETS[font_set])
