"""What the output gate and the signing of pictures cost: `python -m bench.safety`.

Prints a table and then the same as JSON. Milliseconds, one thread; needs the extra `gpu` and the
detector's model (requirements/gate.txt), nothing else.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gpu_server.provenance import Origin, Signer, xmp_packet
from gpu_server.safety import Gate, blur

REPEATS = 40
ORIGIN = Origin("free", "realism", "bench", ai=True, created=datetime.now(UTC))
TARGETS_P50 = {"gate 1024 px": 80.0, "blur 512 px": 5.0}
TARGET_SIGN = 30.0


def photo_like(side: int) -> Image.Image:
    """Soft shapes under fine grain: compresses about as a photograph does."""
    channels = []
    for spread in (90, 100, 110):
        shapes = Image.effect_noise((12, 12), spread).resize((side, side), Image.Resampling.BICUBIC)
        channels.append(Image.blend(shapes, Image.effect_noise((side, side), 40), 0.08))
    return Image.merge("RGB", channels)


def encode(image: Image.Image, media_type: str) -> bytes:
    file, packet = BytesIO(), xmp_packet(ORIGIN)
    if media_type == "image/png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        image.save(file, "PNG", pnginfo=info, compress_level=1)
    else:
        image.save(file, media_type.removeprefix("image/"), xmp=packet, quality=92)
    return file.getvalue()


def cases(gate: Gate, signer: Signer) -> Iterator[tuple[str, Callable[[], object]]]:
    for side in (64, 320, 512, 1024, 2048):
        image = photo_like(side)
        yield f"gate {side} px", partial(gate.check, [image])
    upload = photo_like(6300)
    yield "gate photo 40 MP", partial(gate.check, [upload], photo=True)
    preview = photo_like(512)
    yield "blur 512 px", partial(blur, preview)
    picture = photo_like(1024)
    for media_type in ("image/jpeg", "image/png", "image/webp"):
        data = encode(picture, media_type)
        name = f"sign 1024 px {media_type.removeprefix('image/')} ({len(data) // 1024} KB)"
        yield name, partial(signer.sign, data, media_type, ORIGIN)


def measure(work: Callable[[], object]) -> dict[str, float]:
    work()
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1000)
    return {
        "p50_ms": round(statistics.median(taken), 2),
        "p95_ms": round(statistics.quantiles(taken, n=20)[-1], 2),
    }


def main() -> None:
    start = time.perf_counter()
    gate = Gate.load()
    loading = round((time.perf_counter() - start) * 1000)
    with tempfile.TemporaryDirectory() as folder:
        signer = Signer.load(Path(folder))
        results = {name: measure(work) for name, work in cases(gate, signer)}
    print(f"{'':32}{'p50 ms':>9}{'p95 ms':>9}{'target p50':>12}")
    for name, result in results.items():
        target = TARGET_SIGN if name.startswith("sign") else TARGETS_P50.get(name)
        limit = f"{target:12.0f}" if target else ""
        print(f"{name:32}{result['p50_ms']:9.2f}{result['p95_ms']:9.2f}{limit}")
    load = round(os.getloadavg()[0], 2)
    print(json.dumps({"gate_load_ms": loading, "load_average": load, "results": results}))


if __name__ == "__main__":
    main()
