"""The prompt's words on the picture, and the mark that says it is a sketch."""

from dataclasses import dataclass
from importlib import resources

from PIL import Image, ImageDraw, ImageFont

from gpu_server.sketch.draw.brief import Box, Color

_MAX_LETTERS = 140
_MARK = "sketch"


@dataclass(frozen=True)
class Lettering:
    """How a style sets words: `weight` is one of Manrope's, `outline` a share of letter size."""

    weight: str
    color: Color
    outline: float = 0.0
    outline_color: Color = (0, 0, 0)
    centred: bool = False
    spacing: float = 0.12  # between lines, as a share of letter size


def font(weight: str, size: int) -> ImageFont.FreeTypeFont:
    """Load Manrope (SIL Open Font License), which has Latin, Greek and Cyrillic letters."""
    path = resources.files("font_manrope") / "files" / f"Manrope-{weight}.ttf"
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def write(image: Image.Image, words: str, box: Box, style: Lettering) -> None:
    """Set words at the bottom of a box (left, top, right, bottom), as large as they fit."""
    left, top, right, bottom = box
    words = " ".join(_legible(words).split())
    if len(words) > _MAX_LETTERS:
        words = words[: _MAX_LETTERS - 1].rsplit(" ", 1)[0] + "…"
    fitted = _fit(words, right - left, bottom - top, style)
    if fitted is None:
        return
    face, lines = fitted
    draw = ImageDraw.Draw(image)
    step = face.size * (1.12 + style.spacing)
    y = bottom - step * len(lines)
    if style.centred:
        y -= (bottom - top - step * len(lines)) / 2
    for line in lines:
        x = left + (right - left - face.getlength(line)) / 2 if style.centred else left
        draw.text(
            (x, y),
            line,
            font=face,
            fill=style.color,
            stroke_width=round(face.size * style.outline),
            stroke_fill=style.outline_color,
        )
        y += step


def mark(image: Image.Image) -> None:
    """Write "sketch" in the lower right corner: small, and readable on any ground."""
    unit = min(image.size)
    size = max(8, round(unit * 0.02))
    face = font("Medium", size)
    width, pad = face.getlength(_MARK), size * 0.6
    right, bottom = image.width - size, image.height - size
    left, top = right - width - 2 * pad, bottom - size * 1.9
    region = (max(0, round(left)), max(0, round(top)), round(right), round(bottom))
    if region[2] <= region[0] or region[3] <= region[1]:
        return
    patch = image.crop(region).point(lambda value: value * 0.35)
    mask = Image.new("L", patch.size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, patch.width - 1, patch.height - 1), size, 255)
    image.paste(patch, (region[0], region[1]), mask)
    ImageDraw.Draw(image).text((left + pad, top + size * 0.24), _MARK, (255, 255, 255), face)


def _legible(words: str) -> str:
    """Blank out characters that the font lacks, which would show as empty boxes."""
    face = font("Medium", 12)
    box = bytes(face.getmask("\U0010ffff"))
    lacking = {letter for letter in set(words) if bytes(face.getmask(letter)) == box}
    return "".join(" " if letter in lacking else letter for letter in words)


def _fit(
    words: str, width: float, height: float, style: Lettering
) -> tuple[ImageFont.FreeTypeFont, list[str]] | None:
    """Find the largest size at which the words fit, and their lines; None if unreadably small."""
    smallest, largest = 7, int(min(height / 1.3, width / 5))
    best = None
    while words and smallest <= largest:
        size = (smallest + largest + 1) // 2
        face = font(style.weight, size)
        lines = _wrap(words, face, width)
        fits = len(lines) * size * (1.12 + style.spacing) <= height
        if fits and all(face.getlength(line) <= width for line in lines):
            best = face, lines
            smallest = size + 1
        else:
            largest = size - 1
    if best is None:
        return None
    face, lines = best
    return face, _balance(words, face, width, len(lines))


def _balance(words: str, face: ImageFont.FreeTypeFont, width: float, count: int) -> list[str]:
    """Break the words into the same number of lines, of about equal length."""
    lines = _wrap(words, face, width)
    for share in (0.92, 0.84, 0.76, 0.68, 0.6):
        narrower = _wrap(words, face, width * share)
        if len(narrower) > count or any(face.getlength(line) > width for line in narrower):
            break
        lines = narrower
    return lines


def _wrap(words: str, face: ImageFont.FreeTypeFont, width: float) -> list[str]:
    lines: list[str] = []
    for word in words.split(" "):
        if lines and face.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
