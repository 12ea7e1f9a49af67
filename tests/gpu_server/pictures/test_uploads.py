"""Photos from outside: taken as they look, or refused in words; never with anything else inside."""

import base64
import resource

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gpu_server.pictures import uploads
from tests.gpu_server.pictures import samples
from web.errors import EaselError, InvalidImage, TooLarge

DEEP_BYTES = 400_000_000
"""Far below what the bombs would unpack to."""


def fields_refused(data: bytes) -> list[str]:
    try:
        uploads.decode(data)
    except EaselError as error:
        return [fault.field for fault in error.errors]
    return []


def colour_at(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    found = image.getpixel((x, y))
    assert isinstance(found, tuple)
    return tuple(int(value) for value in found)


@pytest.mark.parametrize("kind", samples.GOOD)
def test_every_kind_of_picture_becomes_plain_colour(kind: str) -> None:
    image = uploads.decode(samples.GOOD[kind])
    assert (image.mode, image.size, image.info) == ("RGB", samples.SIZE, {})
    assert not image.getexif()
    if kind in ("png", "jpeg", "webp", "cmyk", "16-bit colour", "with a script behind it"):
        assert colour_at(image, 5, 5) == pytest.approx(samples.COLOUR, abs=3)
    if kind == "16-bit grey":
        assert colour_at(image, 5, 5) == (200, 200, 200)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", samples.BAD)
def test_a_file_that_cannot_be_used_is_refused_in_words(kind: str) -> None:
    data, message = samples.BAD[kind]
    with pytest.raises(InvalidImage) as refused:
        uploads.decode(data)
    [fault] = refused.value.errors
    assert (fault.field, fault.message, fault.allowed) == ("image", message, uploads.ALLOWED)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_before_they_are_unpacked() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind in ("bomb", "largest png", "41 megapixels", "webp bomb"):
        with pytest.raises(InvalidImage):
            uploads.decode(samples.BAD[kind][0])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < DEEP_BYTES


@pytest.mark.parametrize(
    ("orientation", "upper"),
    [(1, "red"), (3, "blue"), (2, "red"), (4, "blue"), (6, None), (8, None), (5, None), (7, None)],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_held_sideways_is_upright(orientation: int, upper: str | None, kind: str) -> None:
    data = samples.saved(samples.halves(), kind, exif=samples.with_exif(orientation))
    image = uploads.decode(data)
    turned = orientation >= 5
    assert image.size == (samples.SIZE[::-1] if turned else samples.SIZE)
    first, last = colour_at(image, 2, 2), colour_at(image, image.width - 3, image.height - 3)
    red_first = upper == "red" if upper else orientation in (5, 8)
    assert (first[0] > first[2]) == red_first
    assert (last[0] > last[2]) == (not red_first)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_where_it_was_taken_and_by_what_is_not_kept(kind: str) -> None:
    data = samples.saved(samples.plain(), kind, exif=samples.with_exif(1))
    assert b"SecretPhone" in data
    image = uploads.decode(data)
    assert b"SecretPhone" not in samples.saved(image, kind)
    assert not image.getexif().get_ifd(0x8825)


def test_transparent_parts_become_white() -> None:
    for image in (
        Image.new("RGBA", samples.SIZE, (*samples.COLOUR, 0)),
        Image.new("LA", samples.SIZE, (0, 0)),
    ):
        assert colour_at(uploads.decode(samples.saved(image, "PNG")), 0, 0) == (255, 255, 255)
    palette = samples.plain("P")
    index = palette.getpixel((0, 0))
    for transparency in (index, bytes(256)):
        data = samples.saved(palette, "PNG", transparency=transparency)
        assert colour_at(uploads.decode(data), 0, 0) == (255, 255, 255)
    half = Image.new("RGBA", samples.SIZE, (0, 0, 0, 128))
    shown = colour_at(uploads.decode(samples.saved(half, "WEBP", lossless=True)), 0, 0)
    assert shown == pytest.approx((127, 127, 127), abs=1)


def test_what_is_hidden_in_a_file_does_not_come_out_again() -> None:
    script = b"<script>alert(1)</script>"
    text = samples.chunk(b"tEXt", b"Comment\0" + script)
    inside = samples.png(samples.SIZE, (b"\0" + b"\1\2\3" * 64) * 48, text)
    for data in (inside + script, samples.saved(samples.plain(), "JPEG", comment=script)):
        image = uploads.decode(data)
        for kind in ("PNG", "JPEG", "WEBP"):
            assert script not in samples.saved(image, kind)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged EXIF
@settings(max_examples=300)
@given(
    kind=st.sampled_from(list(samples.GOOD)),
    changes=st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from("rid"), st.binary(min_size=1, max_size=4)),
        min_size=1,
        max_size=12,
    ),
)
def test_a_damaged_file_is_a_picture_or_refused_in_words(
    kind: str, changes: list[tuple[int, str, bytes]]
) -> None:
    data = bytearray(samples.GOOD[kind])
    for place, how, new in changes:
        at = place % max(1, len(data))
        if how == "r":
            data[at : at + len(new)] = new
        elif how == "i":
            data[at:at] = new
        else:
            del data[at : at + len(new)]
    assert fields_refused(bytes(data)) in ([], ["image"])


# -- base64 ------------------------------------------------------------------------------

PNG = samples.GOOD["png"]
PACKED = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "text",
    [
        PACKED,
        f"data:image/png;base64,{PACKED}",
        f"data:image/png;charset=utf-8;base64,{PACKED}",
        f"DATA:IMAGE/PNG;BASE64,{PACKED}",
        PACKED.rstrip("="),
        f"  {PACKED}\r\n",
        "\n".join(PACKED[at : at + 76] for at in range(0, len(PACKED), 76)),
        base64.urlsafe_b64encode(PNG).decode(),
    ],
)
def test_base64_is_taken_as_people_write_it(text: str) -> None:
    assert uploads.from_base64(text) == PNG


@given(data=st.binary(min_size=1, max_size=300))
def test_base64_of_anything_gives_its_bytes(data: bytes) -> None:
    for packed in (base64.b64encode(data), base64.urlsafe_b64encode(data)):
        assert uploads.from_base64(packed.decode()) == data
        assert uploads.from_base64(packed.decode().rstrip("=")) == data


def test_a_long_text_is_taken_whole_and_padded_only_at_its_end() -> None:
    data = bytes(range(256)) * 12_289
    packed = base64.b64encode(data).decode()
    assert packed.endswith("=")
    lines = "\r\n".join(packed[at : at + 76] for at in range(0, len(packed), 76))
    assert uploads.from_base64(packed) == uploads.from_base64(lines) == data
    short = base64.b64encode(bytes(786_431)).decode()
    assert uploads.from_base64(short + "\n" * 2_000_000) == bytes(786_431)
    for more in ("AAAA", "AA", "=", "\n" * 2_000_000 + "AAAA"):
        with pytest.raises(InvalidImage):
            uploads.from_base64(short + more)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("data:image/png;base64,", "is empty"),
        ("%%%%", "is not valid base64"),
        ("AAAAA", "is not valid base64"),
        ("AA=A", "is not valid base64"),
        ("====", "is not valid base64"),
        ("картинка", "is not valid base64"),
        ("\ud800", "is not valid base64"),
        ("https://example.org/cat.png", "is not valid base64"),
        ("data:image/png,notbase64", "is not valid base64"),
        (5, "must be a base64 text or data URL"),
        (["AAAA"], "must be a base64 text or data URL"),
        ({"url": "x"}, "must be a base64 text or data URL"),
        (False, "must be a base64 text or data URL"),
    ],
)
def test_what_is_not_base64_is_refused_in_words(given_: object, message: str) -> None:
    with pytest.raises(InvalidImage) as refused:
        uploads.from_base64(given_)
    [fault] = refused.value.errors
    assert (fault.field, fault.message) == ("image", message)


def test_more_than_twenty_megabytes_are_refused() -> None:
    with pytest.raises(TooLarge) as refused:
        uploads.from_base64("A" * (uploads.MAX_BYTES // 3 * 4 + 8))
    assert refused.value.errors[0].message == "has over 20 MB"
    with pytest.raises(TooLarge):
        uploads.decode(b"\0" * (uploads.MAX_BYTES + 1))
    assert uploads.from_base64(base64.b64encode(bytes(uploads.MAX_BYTES)).decode())
