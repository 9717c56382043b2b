"""Asks the running gateway the fixed questions and makes the table."""
import json
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, Iterable, List, Tuple

from .metrics import character_accuracy, is_right, mean_interval, wilson
from .questions import Question
from .service import Client

READING = ("word", "line", "paragraph", "small_print")
BATCH = 64  # questions held at a time


def answer_of(client: Client, question: Question) -> Dict:
    reply = client.ask(question.pictures, question.questions, question.answers)
    # Boxes come beside the text as well; the raw text keeps the published form.
    text = reply["choices"][0]["message"]["content"] or ""
    return {"number": question.number, "task": question.task, "question": question.questions[-1],
            "truth": question.truth, "answer": text,
            "right": is_right(question.task, text, question.truth),
            "characters": round(character_accuracy(text, question.truth), 4)}


def ask_all(url: str, questions: Iterable[Question], path: str, parallel: int) -> List[Dict]:
    """One JSON line a question goes to `path`, in order: two runs can be compared line by line."""
    client, results = Client(url), []
    begin = time.monotonic()
    with ThreadPoolExecutor(parallel) as pool, open(path, "w") as out:
        group: List[Question] = []

        def flush() -> None:
            for result in pool.map(lambda q: answer_of(client, q), group):
                results.append(result)
                out.write(json.dumps(result) + "\n")
            group.clear()
            out.flush()
            right = sum(r["right"] for r in results)
            print("%d asked, %d right, %.0f s" % (len(results), right, time.monotonic() - begin),
                  flush=True)

        for question in questions:
            group.append(question)
            if len(group) == BATCH:
                flush()
        if group:
            flush()
    return results


def _share(results: List[Dict]) -> str:
    right = sum(r["right"] for r in results)
    low, high = wilson(right, len(results))
    return "%.1f%% (%.1f–%.1f)" % (100 * right / max(1, len(results)), 100 * low, 100 * high)


def table(results: List[Dict]) -> str:
    """Markdown: a row for each task, reading with characters too."""
    by_task: Dict[str, List[Dict]] = defaultdict(list)
    for result in results:
        by_task[result["task"]].append(result)
    lines = ["| task | questions | right (95% interval) | characters (95% interval) |",
             "|---|---|---|---|"]
    for task in sorted(by_task):
        rows = by_task[task]
        characters = ""
        if task in READING:
            mean, low, high = mean_interval([r["characters"] for r in rows])
            characters = "%.1f%% (%.1f–%.1f)" % (100 * mean, 100 * low, 100 * high)
        lines.append("| %s | %d | %s | %s |" % (task, len(rows), _share(rows), characters))
    lines.append("| **all** | %d | %s | |" % (len(results), _share(results)))
    return "\n".join(lines)


def paired(first: List[Dict], second: List[Dict]) -> str:
    """How two runs over the same questions differ: what one gets right and the other does not."""
    def keyed(results: List[Dict]) -> Dict[int, Dict]:
        return {r["number"]: r for r in results}

    a, b = keyed(first), keyed(second)
    both = sorted(set(a) & set(b))
    if any(a[n]["truth"] != b[n]["truth"] for n in both):
        raise ValueError("the two runs were not asked the same questions")
    lost = sum(a[n]["right"] and not b[n]["right"] for n in both)
    won = sum(b[n]["right"] and not a[n]["right"] for n in both)
    difference = [float(b[n]["right"]) - float(a[n]["right"]) for n in both]
    count = max(1, len(both))
    mean = sum(difference) / count
    spread = (sum((d - mean) ** 2 for d in difference) / max(1, count - 1)) ** 0.5
    half = 1.96 * spread / count ** 0.5
    return "%d questions: %d lost, %d won, difference %+.2f points (95%% %+.2f to %+.2f)" % (
        len(both), lost, won, 100 * mean, 100 * (mean - half), 100 * (mean + half))


def load_results(path: str) -> List[Dict]:
    with open(path) as file:
        return [json.loads(line) for line in file]


def timings(url: str, questions: List[Question]) -> Tuple[float, float]:
    """Seconds to the first token of a picture not seen before (median), and tokens a second after
    it over all answers, one request at a time. The long answer is a grounded caption."""
    client = Client(url)
    first: List[float] = []
    seconds, tokens = 0.0, 0
    for question in questions:
        times = []
        for length in (1, 1, 100):  # the second time the picture is in the cache
            begin = time.monotonic()
            reply = client.ask(question.pictures, ["<|grounding|>Describe the picture."], [""],
                               max_tokens=length)
            times.append(time.monotonic() - begin)
        first.append(times[0])
        seconds += times[2] - times[1]
        tokens += reply["usage"]["completion_tokens"] - 1
    return sorted(first)[len(first) // 2], tokens / max(seconds, 1e-9)
