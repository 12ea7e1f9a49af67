"""Measure the cost of the output gate, of blurring previews and of signing images.

Milliseconds in one thread, without decoding. Needs the packages of a GPU server
(requirements/gpu.txt and gate.txt), but no running service.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bench.harness.photos import photo_like
from bench.report import Figures, finish, machine, parser, percentile
from gpu_server.pictures.provenance import Origin, Signer, xmp_packet
from gpu_server.safety.gate import Gate, blur

_REPEATS = 40
_ORIGIN = Origin("free", "realism", "bench", ai=True, created=datetime.now(UTC))


def encode(image: Image.Image, media_type: str) -> bytes:
    file, packet = BytesIO(), xmp_packet(_ORIGIN)
    if media_type == "image/png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        image.save(file, "PNG", pnginfo=info, compress_level=1)
    else:
        image.save(file, media_type.removeprefix("image/"), xmp=packet, quality=92)
    return file.getvalue()


def gate_figures(gate: Gate) -> Figures:
    images = {f"{side} px": photo_like(side) for side in (64, 320, 512, 1024, 2048)}
    figures = {name: timed(partial(gate.check, [image])) for name, image in images.items()}
    upload = photo_like(6300)
    return figures | {"photo of 40 megapixels": timed(partial(gate.check, [upload], photo=True))}


def signing_figures(signer: Signer) -> Figures:
    figures: Figures = {}
    image = photo_like(1024)
    for media_type in ("image/jpeg", "image/png", "image/webp"):
        data = encode(image, media_type)
        times = timed(partial(signer.sign, data, media_type, _ORIGIN))
        figures[f"1024 px {media_type}"] = {"kb": len(data) // 1024} | times
    return figures


def timed(work: Callable[[], object]) -> dict[str, float]:
    work()
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    return {"p50_ms": statistics.median(times), "p95_ms": percentile(times, 95)}


def measure() -> Figures:
    figures: Figures = {"machine": machine()}
    start = time.perf_counter()
    gate = Gate.load()
    figures["gate_load_ms"] = (time.perf_counter() - start) * 1000
    figures["gate"] = gate_figures(gate)
    figures["blur"] = {"512 px": timed(partial(blur, photo_like(512)))}
    with tempfile.TemporaryDirectory() as folder:
        figures["sign"] = signing_figures(Signer.load(Path(folder)))
    return figures


def main() -> int:
    options = parser("safety", __doc__).parse_args()
    return finish("safety", measure(), options.output)


if __name__ == "__main__":
    sys.exit(main())
