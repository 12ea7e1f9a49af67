"""The gate: no image leaves and no photo is used before the detector has judged it.

It cannot be turned off. Anything that keeps it from judging, such as a missing model or a failure
halfway through, raises `GateUnavailable`, and an image that was not judged is not shown.

Labels that lead to a refusal, and the score (0-1) from which they do at strictness 0:

| label                                            | image   | photo              | category   |
|--------------------------------------------------|---------|--------------------|------------|
| FEMALE_GENITALIA_EXPOSED, MALE_GENITALIA_EXPOSED | 0.45    | 0.40               | nudity     |
| ANUS_EXPOSED, FEMALE_BREAST_EXPOSED              | 0.45    | 0.40               | nudity     |
| BUTTOCKS_EXPOSED                                 | 0.60    | 0.50               | nudity     |
| ANUS_COVERED                                     | -       | 0.60               | sexualised |
| FEMALE_GENITALIA_COVERED, BUTTOCKS_COVERED       | -       | 0.60 as a close-up | sexualised |

A close-up fills a tenth of the photo or more, unlike swimwear on people at the beach. Bare feet,
bellies, armpits and men's chests, faces and covered parts not listed are never refused. At
strictness 1 any of these labels that the detector reports at all (score 0.25) is refused. Buttocks
need a higher score because the detector sees them in smooth round things: a cup from above scores
0.3; a shaded ball scores 0.8 and is refused. An extreme close-up of half a face may be refused too.
The detector cannot tell a statue from a person: nude statues are refused.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from PIL import Image, ImageOps

from gpu_server.safety.detector import SCORE_FLOOR, Detection, Detector

_CLOSE_UP = 0.10
_PREVIEW_CELLS = 12
_MODES = frozenset({"1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"})


@dataclass(frozen=True)
class _Rule:
    """A row of the table above; `area`: the smallest share of the image, 0-1."""

    category: str
    image: float | None
    photo: float
    area: float = 0.0


_RULES = {
    "FEMALE_GENITALIA_EXPOSED": _Rule("nudity", 0.45, 0.40),
    "MALE_GENITALIA_EXPOSED": _Rule("nudity", 0.45, 0.40),
    "ANUS_EXPOSED": _Rule("nudity", 0.45, 0.40),
    "FEMALE_BREAST_EXPOSED": _Rule("nudity", 0.45, 0.40),
    "BUTTOCKS_EXPOSED": _Rule("nudity", 0.60, 0.50),
    "ANUS_COVERED": _Rule("sexualised", None, 0.60),
    "FEMALE_GENITALIA_COVERED": _Rule("sexualised", None, 0.60, _CLOSE_UP),
    "BUTTOCKS_COVERED": _Rule("sexualised", None, 0.60, _CLOSE_UP),
}


class GateUnavailable(RuntimeError):
    """The gate could not judge, so nothing may pass; the text is for the log and the operator."""


@dataclass(frozen=True)
class Verdict:
    """The judgement on one image.

    `category` is `nudity` or `sexualised` if it is refused, else None. `score` (0-1) is the highest
    of what was refused or, if it is allowed, of all labels that could have been. `shows_face` is
    for photos: of several in one request only one may.
    """

    allowed: bool
    category: str | None
    score: float
    shows_face: bool = False


def decide(
    detections: Iterable[Detection], photo: bool = False, strictness: float = 0.0
) -> Verdict:
    """Apply the table above to one image's detections; `strictness` (0-1) lowers thresholds."""
    highest, shows_face = 0.0, False
    refused: list[tuple[float, str]] = []
    for each in detections:
        shows_face = shows_face or each.is_face
        rule = _RULES.get(each.label)
        if rule is None or each.area < rule.area:
            continue
        threshold = rule.photo if photo else rule.image
        if threshold is None:
            continue
        highest = max(highest, each.score)
        if each.score >= threshold - strictness * (threshold - SCORE_FLOOR):
            refused.append((each.score, rule.category))
    if refused:
        score, category = max(refused)
        return Verdict(False, category, score, shows_face)
    return Verdict(True, None, highest, shows_face)


class Gate:
    """Judges images. `check` blocks: call it in a worker thread; threads may share one gate."""

    def __init__(self, detector: Detector, strictness: float) -> None:
        self._detector = detector
        self._strictness = strictness

    @classmethod
    def load(cls, strictness: float = 0.0, *, model: Path | None = None) -> "Gate":
        """Load the detector and test it; takes about 0.3 s and 70 MB.

        Raises GateUnavailable if it cannot be used, ValueError if `strictness` is outside 0-1.
        """
        if not 0 <= strictness <= 1:
            raise ValueError(
                f"strictness is {strictness}: allowed is 0 to 1, 1 being the strictest"
            )
        try:
            gate = cls(Detector(model), strictness)
        except PackageNotFoundError as error:
            raise GateUnavailable(
                "the detector's model is not installed: install requirements/gate.txt"
            ) from error
        except OSError as error:  # its own message names a path
            raise GateUnavailable(
                f"the detector's model cannot be read: {error.strerror}"
            ) from error
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise GateUnavailable(f"the detector did not load: {error}") from error
        gate.self_test()
        return gate

    def detect(self, image: Image.Image, *, photo: bool = False) -> list[Detection]:
        """Return what the detector finds, best first. Raises GateUnavailable."""
        if image.mode not in _MODES:
            raise GateUnavailable(
                f"an image of mode {image.mode} cannot be judged: convert it to RGB"
            )
        if getattr(image, "n_frames", 1) > 1:
            raise GateUnavailable("an animated image cannot be judged: pass its frames one by one")
        try:
            rgb = image if image.mode == "RGB" else image.convert("RGB")
            return self._detector.detect(rgb, thumbnails=not photo)
        except Exception as error:  # whatever it is, the image was not judged
            raise GateUnavailable(f"the detector failed: {error}") from error

    def check(self, images: Sequence[Image.Image], *, photo: bool = False) -> list[Verdict]:
        """Return one verdict per image, in order; `photo`: whether a person uploaded them.

        Pass exactly the pixels that will be used: turned upright, without transparency. Images are
        judged one by one: on one thread a batch is no faster. On GateUnavailable none of them may
        be used.
        """
        return [
            decide(self.detect(image, photo=photo), photo, self._strictness) for image in images
        ]

    def self_test(self) -> None:
        """Raise GateUnavailable unless the detector finds what it must find.

        That is buttocks, wrongly, in a smooth orange ball, and nothing in plain grey.
        """
        light = ImageOps.invert(Image.radial_gradient("L"))
        ball = ImageOps.colorize(light, "black", "white", mid=(255, 160, 60))
        verdicts = self.check([ball, Image.new("RGB", ball.size, "grey")])
        if [verdict.allowed for verdict in verdicts] != [False, True]:
            raise GateUnavailable("the detector loads, but does not find what it must find")


def blur(image: Image.Image) -> Image.Image:
    """Reduce an image to 12 soft patches of colour along its longer side, at the same size.

    For previews, which are not judged: colours and composition show, bodies do not.
    """
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    scale = _PREVIEW_CELLS / max(rgb.size)
    cells = (max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale)))
    return rgb.resize(cells, Image.Resampling.BOX).resize(rgb.size, Image.Resampling.BILINEAR)
