"""NudeNet's nudity detector on the CPU, without NudeNet's own code and its OpenCV.

Only the model of the package `nudenet` 3.4.2 is used (YOLOv8n, trained at 320 px, 18 labels).
Preparation and non-maximum suppression follow NudeNet's, with three corrections: channels are RGB,
the order the model was trained with (NudeNet 3.4.2 passes BGR: its issue 203); images are smoothed
when scaled down, where OpenCV drops pixels; a face suppresses nothing that it overlaps.
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

_STRIDE_PX = 32  # of the network; input sides are multiples of it
_COARSE_PX = 320  # as trained
_FINE_PX = 384  # for a second pass that finds small figures
_FINE_SPAN = 0.35  # longest side of a box, as a share of the image's, trusted in that pass
_THUMBNAIL_PX = 128
_SMALLEST_PX = 96

_Floats = npt.NDArray[np.float32]
_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Detection:
    """A body part: label, score 0-1, box (left, top, width, height) as shares of the image."""

    label: str
    score: float
    box: _Box

    @property
    def area(self) -> float:
        return self.box[2] * self.box[3]

    @property
    def is_face(self) -> bool:
        return self.label.startswith("FACE_")


class Detector:
    """The loaded model. A call uses one thread; several threads may call at once."""

    def __init__(self, model: Path | None = None) -> None:
        """Load `model`, by default the installed package's.

        Raises OSError or PackageNotFoundError if there is none, ValueError for another model than
        these labels and thresholds belong to, or any of onnxruntime's own exceptions.
        """
        path = model or Path(str(distribution("nudenet").locate_file("nudenet/320n.onnx")))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        if digest.hexdigest() != _MODEL_SHA256:
            raise ValueError("the detector's model file is damaged or of another version")
        # Imported here so that a server without it still starts and reports it.
        onnxruntime = import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # it plans memory for one input size; ours vary
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def detect(self, image: Image.Image, *, thumbnails: bool = False) -> list[Detection]:
        """Return the body parts in an RGB image of any size, best score first.

        An image larger than 320 px takes two passes: at 320 px, and at 384 px for figures too small
        at 320. In the second only boxes of up to 0.35 of its longer side count: larger ones were
        found at 320 px, and faces that fill the frame give false alarms at 384. With `thumbnails`,
        images of up to 128 px are judged at their own size: 7 times faster, but less is found.
        """
        side = max(image.size)
        if thumbnails and side <= _THUMBNAIL_PX:
            own = max(_SMALLEST_PX, -(-side // _STRIDE_PX) * _STRIDE_PX)
            return without_overlaps(self._look(image, own))
        small = image.reduce(max(1, side // _FINE_PX))  # one quick average serves both passes
        detections = list(self._look(small, _COARSE_PX))
        if side > _COARSE_PX:
            fine = self._look(small, _FINE_PX)
            shape = (image.width / side, image.height / side)
            detections += [
                each
                for each in fine
                if max(each.box[2] * shape[0], each.box[3] * shape[1]) <= _FINE_SPAN
            ]
        return without_overlaps(detections)

    def _look(self, image: Image.Image, size: int) -> Iterator[Detection]:
        rows = self._session.run(None, {"images": _letterbox(image, size)})[0][0]
        if rows.shape[0] != 4 + len(LABELS) or not np.isfinite(rows).all():
            raise ValueError("the detector's answer makes no sense")
        scores = rows[4:].max(axis=0)
        labels = rows[4:].argmax(axis=0)
        extent = size / max(image.size) * np.array(image.size)  # of the image within the square, px
        for index in np.flatnonzero(scores > SCORE_FLOOR):
            centre, half = rows[0:2, index], rows[2:4, index] / 2
            start = np.clip((centre - half) / extent, 0, 1)
            span = np.clip((centre + half) / extent, 0, 1) - start
            box = (float(start[0]), float(start[1]), float(span[0]), float(span[1]))
            yield Detection(LABELS[labels[index]], float(scores[index]), box)


def _letterbox(image: Image.Image, size: int) -> _Floats:
    """Place the image in the upper left of a black square: 1 x 3 x size x size, RGB, 0-1."""
    scale = size / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    small = image.resize((width, height), Image.Resampling.BILINEAR)
    square = np.zeros((1, 3, size, size), np.float32)
    square[0, :, :height, :width] = np.asarray(small, np.float32).transpose(2, 0, 1) / 255
    return square


def without_overlaps(detections: Iterable[Detection]) -> list[Detection]:
    """Keep the best of overlapping boxes (greedy non-maximum suppression), best first.

    As in NudeNet all labels compete, except that faces compete only with faces.
    """
    kept: list[Detection] = []
    for each in sorted(detections, key=lambda one: one.score, reverse=True):
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
