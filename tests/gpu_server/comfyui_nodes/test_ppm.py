import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gpu_server.comfyui_nodes.ppm import ppm_header, write_ppm


def random_pixels(height: int = 5, width: int = 7) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_an_image_library_reads_the_file(tmp_path: Path) -> None:
    pixels = random_pixels()
    write_ppm(tmp_path / "a.ppm", pixels)
    with Image.open(tmp_path / "a.ppm") as image:
        assert (image.format, image.mode, image.size) == ("PPM", "RGB", (7, 5))
        assert np.array_equal(np.asarray(image), pixels)


def test_the_file_is_the_header_and_the_bare_pixels(tmp_path: Path) -> None:
    pixels = random_pixels(768, 1024)
    write_ppm(tmp_path / "a.ppm", pixels)
    written = (tmp_path / "a.ppm").read_bytes()
    assert written == b"P6\n1024 768\n255\n" + pixels.tobytes()
    assert written.startswith(ppm_header(1024, 768))


def test_an_image_with_alpha_is_read_back_with_it(tmp_path: Path) -> None:
    pixels = np.dstack([random_pixels(), np.full((5, 7), 9, np.uint8)])
    write_ppm(tmp_path / "a.ppm", pixels)
    image = Image.open(BytesIO((tmp_path / "a.ppm").read_bytes()))
    assert (image.mode, image.size) == ("RGBA", (7, 5))
    assert np.array_equal(np.asarray(image), pixels)


def test_a_view_into_a_larger_array_is_written_correctly(tmp_path: Path) -> None:
    with_alpha = np.dstack([random_pixels(), np.full((5, 7), 9, np.uint8)])
    mirrored = with_alpha[:, ::-1, :3]
    write_ppm(tmp_path / "a.ppm", mirrored)
    image = Image.open(BytesIO((tmp_path / "a.ppm").read_bytes()))
    assert np.array_equal(np.asarray(image), mirrored)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_an_array_that_is_not_an_rgb_image_is_refused_and_leaves_no_file(
    tmp_path: Path, wrong: NDArray[np.uint8]
) -> None:
    with pytest.raises(ValueError, match="height x width x 3"):
        write_ppm(tmp_path / "a.ppm", wrong)
    assert list(tmp_path.iterdir()) == []


def test_an_image_replaces_an_older_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_ppm(tmp_path / "a.ppm", random_pixels(64, 64))
    write_ppm(tmp_path / "a.ppm", random_pixels())
    assert [path.name for path in tmp_path.iterdir()] == ["a.ppm"]
    assert (tmp_path / "a.ppm").read_bytes().startswith(b"P6\n7 5\n")


def test_a_full_disk_leaves_neither_half_an_image_nor_its_partial_file(tmp_path: Path) -> None:
    """A limit on file size stands in for the full disk."""
    program = (
        "import pathlib, resource, signal, sys, numpy\n"
        "from gpu_server.comfyui_nodes.ppm import write_ppm\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_ppm(pathlib.Path(sys.argv[1]), numpy.zeros((64, 64, 3), numpy.uint8))\n"
    )
    target = tmp_path / "a.ppm"
    done = subprocess.run(
        [sys.executable, "-c", program, str(target)], capture_output=True, text=True, check=False
    )
    assert "OSError" in done.stderr
    assert list(tmp_path.iterdir()) == []
