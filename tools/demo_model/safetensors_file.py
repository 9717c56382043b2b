"""Reads and writes .safetensors with nothing but numpy."""
import json
import os
import struct
from typing import Dict, List, Tuple

import numpy as np

NAMES = {"float32": "F32", "int64": "I64", "uint8": "U8"}
TYPES = {"F32": np.float32, "I64": np.int64, "U8": np.uint8, "BF16": np.uint16}


def to_bf16(values: np.ndarray) -> np.ndarray:
    """float32 rounded to nearest even, as the upper 16 bits (uint16)."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def write(path: str, tensors: Dict[str, np.ndarray]) -> None:
    """uint16 arrays are bf16 bits. The file appears complete or not at all."""
    header: Dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, values in tensors.items():
        kind = "BF16" if values.dtype == np.uint16 else NAMES[values.dtype.name]
        header[name] = {"dtype": kind, "shape": list(values.shape),
                        "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".part", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            file.write(np.ascontiguousarray(values).tobytes())
    os.replace(path + ".part", path)


def read(path: str) -> Dict[str, np.ndarray]:
    """bf16 comes as float32."""
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + v for v in entry["data_offsets"])
        values = np.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = from_bf16(values) if entry["dtype"] == "BF16" else values.copy()
    return tensors


def shards(tensors: Dict[str, np.ndarray], limit: int) -> List[Dict[str, np.ndarray]]:
    """Consecutive tensors, up to `limit` bytes together."""
    parts: List[Tuple[int, Dict[str, np.ndarray]]] = [(0, {})]
    for name, values in tensors.items():
        size, part = parts[-1]
        if part and size + values.nbytes > limit:
            size, part = 0, {}
            parts.append((0, part))
        part[name] = values
        parts[-1] = (size + values.nbytes, part)
    return [part for _, part in parts]
