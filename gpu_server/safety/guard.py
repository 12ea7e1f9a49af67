"""What every photo passes on its way in, and every picture on its way out: judged, then signed.

There is no way around it: without the detector, or without a signature, this server draws nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog
from PIL import Image

from gpu_server.pictures.provenance import Origin, ProvenanceError, Signer
from gpu_server.safety.gate import Gate, GateUnavailable
from web import errors

log = structlog.get_logger()

_NAMES = {"nudity": "nudity", "sexualised": "sexualised pictures of people"}
OUT_OF_ORDER = "The safety check is out of order, so nothing is drawn until it is repaired"


@dataclass
class Guard:
    """Its methods block for some 10 ms: call them in a worker thread."""

    gate: Gate | None
    signer: Signer | None
    fault: str = ""
    """What keeps it from working, for the operator; empty when it is in order."""

    @classmethod
    def load(
        cls,
        directory: Path,
        strictness: float = 0.0,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> "Guard":
        """Ready to judge and sign; a guard with a `fault` when it cannot."""
        try:
            gate = Gate.load(strictness)
            return cls(gate, Signer.load(directory, certificate, key))
        except GateUnavailable as error:
            return cls(None, None, f"{error.reason}; run ./startup.sh to set it up again")
        except ProvenanceError as error:
            return cls(None, None, str(error))

    def require_decent(self, images: Sequence[Image.Image], *, photo: bool = False) -> None:
        """Raises ContentRefused unless the detector has seen and passed every picture.

        When it could not judge them: EngineError, or EngineLost if it is broken. That is nobody's
        offence, and another pod may do better.
        """
        if self.gate is None:
            raise errors.ContentRefused(OUT_OF_ORDER, category=errors.UNCHECKED)
        try:
            verdicts = self.gate.check(images, photo=photo)
        except GateUnavailable as error:
            raise self._not_judged(self.gate, error) from error
        for verdict in verdicts:
            if not verdict.allowed:
                what = "photo" if photo else "picture"
                category = verdict.category or ""
                raise errors.ContentRefused(
                    f"This server does not take a {what} with: {_NAMES[category]}",
                    category=category,
                )

    def sign(self, data: bytes, media_type: str, origin: Origin) -> bytes:
        """The finished file with its signed manifest.

        Raises ContentRefused without a signer, EngineLost when it fails.
        """
        if self.signer is None:
            raise errors.ContentRefused(OUT_OF_ORDER, category=errors.UNCHECKED)
        try:
            return self.signer.sign(data, media_type, origin)
        except ProvenanceError as error:
            raise self.out_of_order(str(error)) from error

    def _not_judged(self, gate: Gate, error: GateUnavailable) -> errors.EaselError:
        """Whether it is the picture, or the detector, which then takes this server out of service:
        else a picture that cannot be judged would do so to one pod after the other."""
        log.error("picture_not_judged", reason=error.reason)
        try:
            gate.self_test()
        except GateUnavailable as broken:
            return self.out_of_order(broken.reason)
        return errors.EngineError("The safety check could not judge this picture: it is not shown")

    def out_of_order(self, reason: str) -> errors.EngineLost:
        """Take this server out of service; gives the error to raise."""
        self.fault = f"{reason}; restart the GPU server"
        log.error("safety_out_of_order", reason=self.fault)
        return errors.EngineLost(OUT_OF_ORDER)


def origin_of(mode: str, style: str, model: str, *, ai: bool) -> Origin:
    """What is told of a picture made now."""
    return Origin(mode, style, model, ai=ai, created=datetime.now(UTC))
