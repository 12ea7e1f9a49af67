"""Photos of any shape become pictures of exactly the size that is drawn."""

from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from gpu_server.pictures import encoding

SIDE = st.integers(16, 400)
DRAWN = st.integers(2, 60).map(lambda n: 8 * n)


@given(SIDE, SIDE, DRAWN, DRAWN)
@example(216, 200, 1064, 984)
def test_a_photo_is_fitted_to_the_size_exactly(
    width: int, height: int, wide: int, high: int
) -> None:
    photo = Image.new("RGB", (width, height))
    assert encoding.fit_photo(photo, (wide, high)).size == (wide, high)


def test_a_photo_is_cropped_evenly() -> None:
    photo = Image.new("RGB", (300, 100), "black")
    photo.paste((255, 0, 0), (100, 0, 200, 100))
    fitted = encoding.fit_photo(photo, (64, 64))
    assert fitted.getpixel((32, 32)) == (255, 0, 0)
    assert fitted.getpixel((4, 32)) == (255, 0, 0)
    assert fitted.getpixel((60, 32)) == (255, 0, 0)
