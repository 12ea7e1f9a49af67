"""The guard that judges every photo on its way in, and judges and signs every image on its way out.

There is no way around it: without the detector, or without a signer, this server draws nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from PIL import Image

from gpu_server.pictures.provenance import Origin, ProvenanceError, Signer
from gpu_server.safety.gate import Gate, GateUnavailable, Verdict
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
        """Load detector and signer.

        If that fails the guard has a `fault`: the server runs, draws nothing and is not ready.
        """
        try:
            return cls(Gate.load(strictness), Signer.load(directory, certificate, key))
        except GateUnavailable as error:
            fault = f"{error}; run ./startup.sh to set it up again"
        except ProvenanceError as error:
            fault = str(error)
        log.error("safety_out_of_order", reason=fault)
        return cls(None, None, fault)

    def require_decent(
        self, images: Sequence[Image.Image], *, photo: bool = False
    ) -> Sequence[Verdict]:
        """Let the detector judge every image; return its verdicts.

        Raises ContentRefused if it refuses one or there is no detector, EngineError if it could not
        judge one, EngineLost if it is broken: another pod may be in order.
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
        return verdicts

    def sign(self, data: bytes, media_type: str, origin: Origin) -> bytes:
        """Return the signed file. Raises ContentRefused without a signer, EngineLost on failure."""
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
        log.error("safety_check_failed", reason=str(error))
        try:
            gate.self_test()
        except GateUnavailable as broken:
            return self.out_of_order(str(broken))
        return errors.EngineError("The safety check could not judge this picture: it is not shown")

    def out_of_order(self, reason: str) -> errors.EngineLost:
        """Take this server out of service; return the error to raise."""
        self.fault = f"{reason}; restart the GPU server"
        log.error("safety_out_of_order", reason=self.fault)
        return errors.EngineLost(OUT_OF_ORDER)
