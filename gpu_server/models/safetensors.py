"""Check that a file is complete safetensors by its header alone, without reading the weights.

Format: eight bytes of little-endian length N, N bytes of JSON, then the data, which the tensors'
offsets cover without gaps or overlaps (huggingface/safetensors, README).
"""

import json
import math
from pathlib import Path
from typing import Any

_MAX_HEADER = 100_000_000  # the limit of the reference reader
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


class DamagedModel(ValueError):
    """The file is not complete safetensors; the message says why."""


def check_header(path: Path) -> None:
    """Raise DamagedModel if lengths, JSON or offsets do not fit the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = _header_length(file.read(8), size)
        raw = file.read(length)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DamagedModel("its header is not JSON") from error
    if not isinstance(header, dict):
        raise DamagedModel("its header is not a table of tensors")
    header.pop("__metadata__", None)
    spans = sorted(_span(name, entry) for name, entry in header.items())
    end = 0
    for begin, stop, name in spans:
        if begin != end:
            raise DamagedModel(f"tensor {name!r} begins at {begin}, the previous one ends at {end}")
        end = stop
    if end != size - 8 - length:
        raise DamagedModel(f"its tensors take {end} bytes, the file has {size - 8 - length}")


def check_start(start: bytes, size: int) -> None:
    """Raise DamagedModel if a file of this size that starts so cannot be safetensors."""
    _header_length(start[:8], size)
    if start[8:9] not in (b"{", b""):
        raise DamagedModel("its header is not JSON")


def _header_length(start: bytes, size: int) -> int:
    length = int.from_bytes(start, "little")
    if size < 8 or not 2 <= length <= min(_MAX_HEADER, size - 8):
        raise DamagedModel(f"its header would be {length} bytes long, the file has {size}")
    return length


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    try:
        dtype, shape, (begin, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        is_whole = all(isinstance(n, int) and n >= 0 for n in (begin, stop, *shape))
    except (TypeError, KeyError, ValueError) as error:
        raise DamagedModel(f"tensor {name!r} is not described properly") from error
    if not is_whole or begin > stop:
        raise DamagedModel(f"tensor {name!r} has impossible offsets or shape")
    bits = _BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is not None and math.prod(shape) * bits != (stop - begin) * 8:
        raise DamagedModel(f"tensor {name!r} does not fit its shape")
    return begin, stop, name
