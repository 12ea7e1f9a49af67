"""NudeNet's nudity detector on the CPU, without NudeNet's own code and its OpenCV.

Of the package `nudenet` 3.4.2 only the model is used (YOLOv8n, trained at 320 px, 18 labels).
Preparation and non-maximum suppression follow NudeNet's, with three corrections: channels go in as
RGB, the order the model was trained with (NudeNet 3.4.2 hands over BGR: its issue 203); pictures
are smoothed as they are made smaller, where OpenCV drops pixels; a face hides nothing it overlaps.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

LABELS = (
    "FEMALE_GENITALIA_COVERED",
    "FACE_FEMALE",
    "BUTTOCKS_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED",
    "ANUS_EXPOSED",
    "FEET_EXPOSED",
    "BELLY_COVERED",
    "FEET_COVERED",
    "ARMPITS_COVERED",
    "ARMPITS_EXPOSED",
    "FACE_MALE",
    "BELLY_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
    "ANUS_COVERED",
    "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
)
SCORE_FLOOR = 0.25  # NudeNet reports nothing below
_OVERLAP = 0.45  # NudeNet's limit of intersection over union
_MODEL_SHA256 = "c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f"

_STRIDE_PX = 32  # the network's; input sides are multiples of it
_COARSE_PX = 320  # as trained
_FINE_PX = 384  # a second look, for small figures
_FINE_SPAN = 0.35  # longest side, in shares of the picture's, it is trusted with there
_THUMBNAIL_PX = 128
_SMALLEST_PX = 96

_Floats = npt.NDArray[np.float32]
_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Detection:
    """A body part: label, score 0-1, box (left, top, width, height) in shares of the picture."""

    label: str
    score: float
    box: _Box

    @property
    def area(self) -> float:
        """Share of the picture the box covers, 0-1."""
        return self.box[2] * self.box[3]

    @property
    def is_face(self) -> bool:
        """Whether it is a face of either label."""
        return self.label.startswith("FACE_")


class Detector:
    """The loaded model. One thread per call; calls may come from several threads at once."""

    def __init__(self, model: Path | None = None) -> None:
        """Load `model`, by default the installed package's.

        Raises OSError, PackageNotFoundError, ValueError (not the model these labels and thresholds
        belong to), ImportError or onnxruntime's own errors.
        """
        path = model or Path(str(distribution("nudenet").locate_file("nudenet/320n.onnx")))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        if digest.hexdigest() != _MODEL_SHA256:
            raise ValueError("the detector's model file is damaged or of another version")
        # Only here, so that a server that lacks it still starts, and says so.
        onnxruntime = import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # plans memory for one input size; ours vary
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def detect(self, image: Image.Image, *, thumbnails: bool = False) -> list[Detection]:
        """Body parts in an RGB picture of any size, best score first.

        A picture larger than 320 px is looked at twice: at 320 px, and at 384 px for figures too
        small at 320. There only boxes of up to 0.35 of its longer side count: larger things were
        seen at 320 px already, and faces that fill the frame give false alarms at 384.
        `thumbnails` looks at pictures of up to 128 px in their own size, which is 7 times quicker
        and finds less.
        """
        side = max(image.size)
        if thumbnails and side <= _THUMBNAIL_PX:
            own = max(_SMALLEST_PX, -(-side // _STRIDE_PX) * _STRIDE_PX)
            return without_overlaps(self._look(image, own))
        small = image.reduce(max(1, side // _FINE_PX))  # one quick average serves both looks
        found = list(self._look(small, _COARSE_PX))
        if side > _COARSE_PX:
            fine = self._look(small, _FINE_PX)
            shape = (image.width / side, image.height / side)
            found += [
                each
                for each in fine
                if max(each.box[2] * shape[0], each.box[3] * shape[1]) <= _FINE_SPAN
            ]
        return without_overlaps(found)

    def _look(self, image: Image.Image, size: int) -> Iterator[Detection]:
        rows = self._session.run(None, {"images": _letterbox(image, size)})[0][0]
        if rows.shape[0] != 4 + len(LABELS) or not np.isfinite(rows).all():
            raise ValueError("the detector's answer makes no sense")
        scores = rows[4:].max(axis=0)
        labels = rows[4:].argmax(axis=0)
        extent = size / max(image.size) * np.array(image.size)  # of the picture in the square, px
        for index in np.flatnonzero(scores > SCORE_FLOOR):
            centre, half = rows[0:2, index], rows[2:4, index] / 2
            start = np.clip((centre - half) / extent, 0, 1)
            span = np.clip((centre + half) / extent, 0, 1) - start
            box = (float(start[0]), float(start[1]), float(span[0]), float(span[1]))
            yield Detection(LABELS[labels[index]], float(scores[index]), box)


def _letterbox(image: Image.Image, size: int) -> _Floats:
    """The picture in the upper left of a black square: 1 x 3 x size x size, RGB, 0-1."""
    scale = size / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    small = image.resize((width, height), Image.Resampling.BILINEAR)
    square = np.zeros((1, 3, size, size), np.float32)
    square[0, :, :height, :width] = np.asarray(small, np.float32).transpose(2, 0, 1) / 255
    return square


def without_overlaps(found: Iterable[Detection]) -> list[Detection]:
    """The best of what overlaps (greedy non-maximum suppression), best first.

    All labels compete, as with NudeNet, but faces only with faces.
    """
    kept: list[Detection] = []
    for each in sorted(found, key=lambda one: one.score, reverse=True):
        rivals = (other for other in kept if other.is_face == each.is_face)
        if all(_overlap(each.box, rival.box) <= _OVERLAP for rival in rivals):
            kept.append(each)
    return kept


def _overlap(one: _Box, other: _Box) -> float:
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)
