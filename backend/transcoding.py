"""A kept picture in another format, marked and signed as the kept one is."""

from dataclasses import dataclass
from datetime import UTC, datetime

from backend.storage.generations import Row
from gpu_server.pictures import encoding
from gpu_server.pictures.formats import ImageFormat, media_type
from gpu_server.pictures.provenance import Origin, Signer, xmp_packet
from gpu_server.schemas import SKETCH
from web import VERSION


@dataclass(frozen=True)
class Transcoder:
    signer: Signer

    def convert(self, row: Row, data: bytes, wanted: ImageFormat) -> bytes:
        """Blocks for some 10 to 200 ms: call it in a thread."""
        engine = str((row.outcome or {}).get("engine", ""))
        ai = not engine.startswith(SKETCH)
        request = row.order.request
        origin = Origin(
            request.mode,
            request.style,
            row.order.model if ai else engine,
            ai=ai,
            created=datetime.fromtimestamp(row.created, UTC),
        )
        software = f"Easel {VERSION} ({engine})"
        converted = encoding.as_format(data, wanted, software, xmp_packet(origin))
        return self.signer.sign(converted, media_type(wanted), origin)
