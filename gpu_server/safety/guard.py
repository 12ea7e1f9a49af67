"""The guard that judges every photo on its way in, and judges and signs every image on its way out.

There is no way around it: without the detector, or without a signer, this server draws nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
    """Judges and signs. Its methods block for some 10 ms: call them in a worker thread."""

    gate: Gate | None
    signer: Signer | None
    fault: str = ""
    """What keeps it from working, worded for the operator; empty if nothing does."""

    @classmethod
    def load(
        cls,
        directory: Path,
        strictness: float = 0.0,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> "Guard":
        """Load detector and signer; return a guard with a `fault` if that fails."""
        try:
            gate = Gate.load(strictness)
            return cls(gate, Signer.load(directory, certificate, key))
        except GateUnavailable as error:
            return cls(None, None, f"{error.reason}; run ./startup.sh to set it up again")
        except ProvenanceError as error:
            return cls(None, None, str(error))

    def require_decent(self, images: Sequence[Image.Image], *, photo: bool = False) -> None:
        """Let the detector judge every image.

        Raises:
            ContentRefused: It refuses one, or there is no detector.
            EngineError: It could not judge one of them.
            EngineLost: It is broken; another pod may be in order.
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
        """Return the file with its signed manifest.

        Raises:
            ContentRefused: There is no signer.
            EngineLost: Signing failed.
        """
        if self.signer is None:
            raise errors.ContentRefused(OUT_OF_ORDER, category=errors.UNCHECKED)
        try:
            return self.signer.sign(data, media_type, origin)
        except ProvenanceError as error:
            raise self.out_of_order(str(error)) from error

    def _not_judged(self, gate: Gate, error: GateUnavailable) -> errors.EaselError:
        """Return the error for an image that could not be judged.

        Only a detector that fails its self-test takes this server out of service. Otherwise one bad
        image would take out one pod after the other.
        """
        log.error("safety_check_failed", reason=error.reason)
        try:
            gate.self_test()
        except GateUnavailable as broken:
            return self.out_of_order(broken.reason)
        return errors.EngineError("The safety check could not judge this picture: it is not shown")

    def out_of_order(self, reason: str) -> errors.EngineLost:
        """Take this server out of service; return the error to raise."""
        self.fault = f"{reason}; restart the GPU server"
        log.error("safety_out_of_order", reason=self.fault)
        return errors.EngineLost(OUT_OF_ORDER)
