"""Convert a kept image to another format, marked and signed like the original."""

from dataclasses import dataclass
from datetime import UTC, datetime

from backend.storage.generations import GenerationRow
from gpu_server.pictures import encoding
from gpu_server.pictures.formats import ImageFormat, media_type
from gpu_server.pictures.provenance import Origin, Signer, xmp_packet
from gpu_server.schemas import SKETCH
from web import VERSION


@dataclass(frozen=True)
class Transcoder:
    signer: Signer

    def convert(self, row: GenerationRow, data: bytes, wanted: ImageFormat) -> bytes:
        """Convert the image. Blocks for some 10 to 200 ms: call it in a thread."""
        engine = row.outcome.engine if row.outcome else ""
        is_ai = not engine.startswith(SKETCH)
        origin = Origin(
            row.request.mode,
            row.request.style,
            row.model if is_ai else engine,
            ai=is_ai,
            created=datetime.fromtimestamp(row.created, UTC),
        )
        software = f"Easel {VERSION} ({engine})"
        converted = encoding.as_format(data, wanted, software, xmp_packet(origin))
        return self.signer.sign(converted, media_type(wanted), origin)
