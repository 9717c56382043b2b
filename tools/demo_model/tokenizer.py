"""Byte-level BPE in the published format: training, encoding, and the files of a checkpoint.

Encoding here serves training data, which is ASCII; the product's tokenizer reads the same files
and gives the same ids (tests/demo_model compares them).
"""
import functools
import json
import re
import string
from collections import Counter, defaultdict
from typing import Dict, Iterable, List, Tuple

BEGIN, END, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
GROUNDING = ["<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|grounding|>"]
ADDED = ["<image>"] + GROUNDING + ["<|User|>", "<|Assistant|>"]

# As published. On ASCII text the expressions below it cut the same.
SPLITS = [
    "\\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]
_PUNCTUATION = re.escape(string.punctuation)
_DIGITS = re.compile("([0-9]{1,3})")
_WORDS = re.compile(
    "([%(p)s][A-Za-z]+|[^\\r\\n%(p)sA-Za-z]?[A-Za-z]+| ?[%(p)s]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)"
    "|\\s+)" % {"p": _PUNCTUATION})
_CONTROL = re.compile("(" + "|".join(re.escape(t) for t in GROUNDING) + ")")


def byte_alphabet() -> List[str]:
    """The printable character that stands for each byte."""
    kept = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    alphabet, extra = [], 0
    for byte in range(256):
        if byte in kept:
            alphabet.append(chr(byte))
        else:
            alphabet.append(chr(256 + extra))
            extra += 1
    return alphabet


_ALPHABET = byte_alphabet()


def pieces(text: str) -> List[str]:
    """What BPE works on, one at a time; digits apart from the rest."""
    if not text.isascii():
        raise ValueError("training text is ASCII, this is not: %r" % text)
    out = []
    for part in _DIGITS.split(text):
        if not part:
            continue
        out += [part] if part[0].isdigit() else [p for p in _WORDS.split(part) if p]
    return out


def train_merges(texts: Iterable[Tuple[str, int]], number: int) -> List[Tuple[str, str]]:
    """`number` merges learnt from (text, weight); digits are never merged, so that a number is
    read and written digit by digit."""
    counts: Counter = Counter()
    for text, weight in texts:
        for piece in pieces(text):
            if not piece[0].isdigit():
                counts["".join(_ALPHABET[b] for b in piece.encode())] += weight
    words = [list(word) for word in sorted(counts)]
    weights = [counts[word] for word in sorted(counts)]
    pairs: Counter = Counter()
    where = defaultdict(set)
    for i, parts in enumerate(words):
        for pair in zip(parts, parts[1:]):
            pairs[pair] += weights[i]
            where[pair].add(i)
    merges: List[Tuple[str, str]] = []
    while len(merges) < number and pairs:
        best = max(pairs.items(), key=lambda item: (item[1], item[0]))[0]
        if pairs[best] <= 0:
            break
        merges.append(best)
        for i in sorted(where.pop(best)):
            parts = words[i]
            for pair in zip(parts, parts[1:]):
                pairs[pair] -= weights[i]
            words[i] = parts = _merge(parts, best)
            for pair in zip(parts, parts[1:]):
                pairs[pair] += weights[i]
                where[pair].add(i)
        pairs.pop(best, None)
    return merges


def _merge(parts: List[str], pair: Tuple[str, str]) -> List[str]:
    out, i = [], 0
    while i < len(parts):
        if i + 1 < len(parts) and (parts[i], parts[i + 1]) == pair:
            out.append(parts[i] + parts[i + 1])
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


class Tokenizer:
    """Ids: begin, end, padding; 256 bytes; merges; the added tokens at the end."""

    def __init__(self, merges: List[Tuple[str, str]], vocab_size: int):
        tokens = [BEGIN, END, PAD] + sorted(_ALPHABET)
        for a, b in merges:
            if a + b not in tokens:
                tokens.append(a + b)
        if len(tokens) + len(ADDED) > vocab_size:
            raise ValueError("%d tokens do not fit a vocabulary of %d" % (len(tokens), vocab_size))
        self.merges = merges
        self.vocab: Dict[str, int] = {t: i for i, t in enumerate(tokens)}
        self.added = {t: vocab_size - len(ADDED) + i for i, t in enumerate(ADDED)}
        self.ranks = {pair: i for i, pair in enumerate(merges)}
        self.texts = {i: t for t, i in self.vocab.items()}
        self.begin, self.end, self.pad = 0, 1, 2
        self.image, self.user = self.added["<image>"], self.added["<|User|>"]
        self.assistant = self.added["<|Assistant|>"]

    @functools.lru_cache(maxsize=65536)
    def _piece(self, piece: str) -> Tuple[int, ...]:
        parts = [_ALPHABET[b] for b in piece.encode()]
        while len(parts) > 1:
            ranked = [(self.ranks.get(pair, len(self.ranks)), pair)
                      for pair in zip(parts, parts[1:])]
            rank, pair = min(ranked)
            if rank == len(self.ranks):
                break
            parts = _merge(parts, pair)
        return tuple(self.vocab[p] for p in parts)

    def encode(self, text: str, spelled: bool = False) -> List[int]:
        """Ids of `text`. Spelled: one token a character, the same text when decoded."""
        if spelled:
            return [self.vocab[_ALPHABET[b]] for b in text.encode()]
        ids: List[int] = []
        for part in _CONTROL.split(text):
            if part in self.added:
                ids.append(self.added[part])
            elif part:
                for piece in pieces(part):
                    ids += self._piece(piece)
        return ids

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        names = {i: t for t, i in self.added.items()}
        out = bytearray()
        for i in ids:
            if i in names:
                out += names[i].encode()
            elif i > self.pad and i in self.texts:
                out += bytes(_ALPHABET.index(c) for c in self.texts[i])
        return bytes(out)

    def decode(self, ids: Iterable[int]) -> str:
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def _added_entry(self, content: str, token: int) -> Dict[str, object]:
        return {"id": token, "content": content, "single_word": False, "lstrip": False,
                "rstrip": False, "normalized": False, "special": True}

    def files(self) -> Dict[str, object]:
        """tokenizer.json, tokenizer_config.json and special_tokens_map.json."""
        specials = [(BEGIN, 0), (END, 1), (PAD, 2)] + list(self.added.items())
        entries = [self._added_entry(content, token) for content, token in specials]
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                 "use_regex": False}
        splits = [{"type": "Split", "pattern": {"Regex": s}, "behavior": "Isolated",
                   "invert": False} for s in SPLITS]
        names = {"bos_token": BEGIN, "eos_token": END, "pad_token": PAD,
                 "additional_special_tokens": ADDED}
        return {
            "tokenizer.json": {
                "version": "1.0", "truncation": None, "padding": None, "added_tokens": entries,
                "normalizer": {"type": "Sequence", "normalizers": []},
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits + [level]},
                "post_processor": dict(level, use_regex=True, trim_offsets=False),
                "decoder": dict(level, add_prefix_space=True, use_regex=True),
                "model": {"type": "BPE", "dropout": None, "unk_token": None,
                          "continuing_subword_prefix": None, "end_of_word_suffix": None,
                          "fuse_unk": False, "byte_fallback": False, "vocab": self.vocab,
                          "merges": [a + " " + b for a, b in self.merges]}},
            "tokenizer_config.json": dict(
                names, add_bos_token=False, add_eos_token=False,
                added_tokens_decoder={str(e["id"]): {k: v for k, v in e.items() if k != "id"}
                                      for e in entries},
                clean_up_tokenization_spaces=False, legacy=True, model_max_length=4096,
                processor_class="DeepseekVLV2Processor", sp_model_kwargs={}, unk_token=None,
                tokenizer_class="LlamaTokenizerFast", use_default_system_prompt=False),
            "special_tokens_map.json": names,
        }


def load_tokenizer(folder: str) -> Tokenizer:
    with open(folder + "/tokenizer.json", encoding="utf-8") as file:
        data = json.load(file)
    merges = [tuple(m.split(" ")) for m in data["model"]["merges"]]
    return Tokenizer(merges, max(e["id"] for e in data["added_tokens"]) + 1)
