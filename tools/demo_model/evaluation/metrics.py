"""Scores of answers, and 95% intervals."""
import math
import re
from typing import List, Sequence, Tuple

Boxes = List[Tuple[float, float, float, float]]
_GROUP = re.compile(r"<\|ref\|>(.*?)<\|/ref\|><\|det\|>(.*?)<\|/det\|>", re.S)
_BOX = re.compile(r"\[(\d{1,3}), ?(\d{1,3}), ?(\d{1,3}), ?(\d{1,3})\]")


def edit_distance(a: str, b: str) -> int:
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (x != y)))
        previous = row
    return previous[-1]


def character_accuracy(answer: str, truth: str) -> float:
    """1 - edit distance over the longer length; 1 for equal texts."""
    longest = max(len(answer), len(truth), 1)
    return 1.0 - edit_distance(answer, truth) / longest


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    overlap = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return overlap / (sum(areas) - overlap)


def groups_of(text: str) -> List[Tuple[str, Boxes]]:
    """(label, boxes) of every group that is written in the published form."""
    return [(label, [tuple(float(v) for v in box) for box in _BOX.findall(boxes)])
            for label, boxes in _GROUP.findall(text)]


def boxes_right(answer: str, truth: str, least: float = 0.5) -> bool:
    """Same groups, same labels, as many boxes, and each true box has its own at IoU >= least."""
    mine, wanted = groups_of(answer), groups_of(truth)
    if [label for label, _ in mine] != [label for label, _ in wanted]:
        return False
    for (_, found), (_, true) in zip(mine, wanted):
        if len(found) != len(true):
            return False
        left = list(found)
        for box in true:
            best = max(left, key=lambda other: iou(box, other))
            if iou(box, best) < least:
                return False
            left.remove(best)
    return True


def is_right(task: str, answer: str, truth: str) -> bool:
    if "<|det|>" in truth:
        return boxes_right(answer, truth)
    return answer.strip() == truth.strip()


def wilson(right: int, total: int) -> Tuple[float, float]:
    """95% interval of a share (Wilson)."""
    if total == 0:
        return 0.0, 1.0
    z, p = 1.96, right / total
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def mean_interval(values: Sequence[float]) -> Tuple[float, float, float]:
    """Mean and its 95% interval by the normal approximation."""
    count = max(1, len(values))
    mean = sum(values) / count
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, count - 1))
    half = 1.96 * spread / math.sqrt(count)
    return mean, max(0.0, mean - half), min(1.0, mean + half)
