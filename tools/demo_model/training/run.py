"""The command line of training: stages, pieces, devices."""
import argparse
import json
import math
import os
import shutil
from typing import Callable, List, Optional, Tuple

import torch
from torch import nn

from ..corpus import make_tokenizer
from ..export import load_published
from ..modeling.aux_heads import AuxHeads
from ..modeling.vl2 import Vl2
from ..tokenizer import Tokenizer, load_tokenizer
from . import state
from .alignment import begin_language
from .joint_stage import train_joint
from .loop import Log
from .pair import start_peers
from .presets import PRESETS, Preset
from .tower_stage import train_tower


STAGES = ["tower", "readout", "language", "joint"]
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
READOUT_SHARE = 0.1  # of the language model's time alone


def tower_rate(share: float) -> float:
    return 1.0 if share < 0.5 else 1.0 - 0.9 * (share - 0.5) / 0.5


def language_rate(share: float) -> float:
    return 1.0


def joint_rate(share: float) -> float:
    """Flat, then a cosine to a fiftieth."""
    if share < 0.4:
        return 1.0
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (share - 0.4) / 0.6))


def stage_span(piece: Tuple[int, int], begin: float, end: float) -> Tuple[float, float]:
    """Which part of a stage (that takes begin..end of all pieces) falls into this piece."""
    first, last = (piece[0] - 1) / piece[1], piece[0] / piece[1]
    length = max(end - begin, 1e-9)
    return (min(1.0, max(0.0, (first - begin) / length)),
            min(1.0, max(0.0, (last - begin) / length)))


def plan(preset: Preset, stage: str) -> List[Tuple[str, Callable[[float], float], float, float]]:
    """Stages with their rates and which part of the time each takes."""
    rates = {"tower": tower_rate, "readout": language_rate, "language": language_rate,
             "joint": joint_rate}
    if stage != "all":
        return [(stage, rates[stage], 0.0, 1.0)]
    ends = [preset.tower_share, preset.tower_share + READOUT_SHARE * preset.language_share,
            preset.tower_share + preset.language_share, 1.0]
    return [(name, rates[name], begin, end) for name, begin, end in zip(STAGES, [0.0] + ends, ends)]


def within(rate: Callable[[float], float], span: Tuple[float, float]) -> Callable[[float], float]:
    return lambda share: rate(span[0] + share * (span[1] - span[0]))


def tokenizer_of(preset: Preset, folder: str, start: Optional[str]) -> Tokenizer:
    """That of the weights to go on from, which were trained with its words (another version of the
    library that draws can lead to other merges); else the folder's own; else a new one."""
    if start and not os.path.samefile(start, folder):
        for name in TOKENIZER_FILES:
            shutil.copyfile(os.path.join(start, name), os.path.join(folder, name))
    if not os.path.exists(os.path.join(folder, "tokenizer.json")):
        tokenizer = make_tokenizer(preset.mix, preset.font_set, preset.shape.vocab_size)
        for name, value in tokenizer.files().items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                json.dump(value, file, ensure_ascii=False)
    return load_tokenizer(folder)


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    parser.add_argument("--preset", choices=list(PRESETS), required=True)
    parser.add_argument("--minutes", type=float, required=True, help="of this piece")
    parser.add_argument("--piece", default="1/1", help="K/N: this is piece K of N equal ones")
    parser.add_argument("--out", required=True)
    parser.add_argument("--from", dest="start",
                        help="folder of a state, or of an exported model, to go on from")
    parser.add_argument("--stage", choices=["all"] + STAGES, default="all")
    parser.add_argument("--begin", choices=STAGES, default="tower",
                        help="leave out the stages before this one: --from has them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, help="number of the first batch; default by piece")
    parser.add_argument("--workers", type=int, help="processes that render")
    parser.add_argument("--new_language", action="store_true",
                        help="begin the stage with a fresh language model; --stage all does")
    parser.add_argument("--processes", type=int, default=1, help="that train together, on a CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def main(parser: argparse.ArgumentParser) -> None:
    args = parse(parser)
    device = torch.device(args.device)
    preset = PRESETS[args.preset]
    peers = start_peers(args.processes)
    if device.type == "cpu":
        torch.set_num_threads(1)
    os.makedirs(args.out, exist_ok=True)
    torch.manual_seed(args.seed + 1000 * peers.rank)
    if peers.rank == 0:
        tokenizer_of(preset, args.out, args.start)
    modules = nn.ModuleDict({"model": Vl2(preset.shape),
                             "aux": AuxHeads(preset.shape.hidden_size)})
    exported = bool(args.start) and os.path.exists(
        os.path.join(args.start, "model.safetensors.index.json"))
    if args.start:
        if exported:
            load_published(modules["model"], args.start)  # an exported folder, without aux heads
        else:
            state.load(args.start, modules)
    modules.to(device)
    peers.share(modules)
    tokenizer = load_tokenizer(args.out)
    if peers.rank == 0:
        print("%.2f million parameters, %.2f of them exported" % (
            sum(p.numel() for p in modules.parameters()) / 1e6,
            sum(p.numel() for p in modules["model"].parameters()) / 1e6), flush=True)

    piece = tuple(int(v) for v in args.piece.split("/"))
    workers = args.workers if args.workers is not None else (
        1 if device.type == "cpu" else max(1, (os.cpu_count() or 2) - 1))
    total = args.minutes * 60 * piece[1]
    first = args.first if args.first is not None else (piece[0] - 1) * 1_000_000
    steps = 0
    for stage, rate, begin, end in plan(preset, args.stage):
        if args.stage == "all" and STAGES.index(stage) < STAGES.index(args.begin):
            continue
        span = stage_span(piece, begin, end)
        seconds = (span[1] - span[0]) * (end - begin) * total
        if seconds < 1:
            continue
        log = Log(args.out, (begin + span[0] * (end - begin)) * total / 60,
                  "%s-%d" % (stage, piece[0]))
        common = (seconds, workers, device, log, peers, within(rate, span))
        if stage == "tower":
            steps = train_tower(args.out, modules, preset, args.seed, first, *common)
        else:
            if args.new_language and not steps or args.stage == "all" and span[0] == 0 and \
                    begin == preset.tower_share:
                if peers.rank == 0:
                    begin_language(modules, tokenizer, preset.font_set)
                peers.share(modules)
            steps = train_joint(args.out, modules, preset, tokenizer, args.seed, first, *common,
                                stage, exported)
        first += steps
        if peers.rank == 0:
            print("%d batches; the next number is %d" % (steps, first), flush=True)
    for child in peers.children:
        child.wait()
