"""The live catalogue: folders are taken up when they are whole, and nothing flickers meanwhile."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import workflows
from workflows import catalog
from workflows.catalog import Catalog
from workflows.live import LiveCatalog

FREE = Path(workflows.__file__).parent / "free"
STEP_S = 0.3
"""The pause between two steps of a copy or a save, which is what these tests are about."""


class Seen(list[Catalog]):
    """Every catalogue that followers were told of."""

    def __init__(self) -> None:
        super().__init__()
        self._told = asyncio.Event()

    def tell(self, told: Catalog) -> None:
        self.append(told)
        self._told.set()

    async def next(self) -> Catalog:
        self._told.clear()
        async with asyncio.timeout(20):
            await self._told.wait()
        return self[-1]


@asynccontextmanager
async def watching(folder: Path) -> AsyncIterator[tuple[LiveCatalog, Seen]]:
    live, seen = LiveCatalog(lambda: catalog.load(folder), folder), Seen()
    live.follow(seen.tell)
    task = asyncio.create_task(live.run())
    try:
        yield live, seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_mode_that_is_copied_file_by_file_appears_once_and_whole(tmp_path: Path) -> None:
    async with watching(tmp_path) as (live, seen):
        place = tmp_path / "poster"
        place.mkdir()
        for file in sorted(FREE.iterdir(), reverse=True):  # mode.toml before its graphs
            shutil.copy(file, place)
            await asyncio.sleep(STEP_S)
        read = await seen.next()
        assert "poster" in read.modes
        assert all("poster" not in told.broken for told in seen)
        assert live.current is read


async def test_a_mode_that_is_replaced_step_by_step_never_goes_out_of_service(
    tmp_path: Path,
) -> None:
    place = tmp_path / "poster"
    shutil.copytree(FREE, place)
    async with watching(tmp_path) as (_, seen):
        toml = (place / "mode.toml").read_text("utf-8")
        shutil.rmtree(place)
        await asyncio.sleep(STEP_S)
        place.mkdir()
        (place / "mode.toml").write_text(toml[: len(toml) // 2], "utf-8")
        await asyncio.sleep(5 * STEP_S)  # long enough for what breaks nothing to be taken up
        for file in FREE.iterdir():
            shutil.copy(file, place)
        (place / "mode.toml").write_text(toml + "\n# the new one\n", "utf-8")
        changed = toml.replace("order = ", "order = 7", 1)
        (place / "mode.toml").write_text(changed, "utf-8")
        read = await seen.next()
        assert read.modes["poster"].spec.order != seen[0].modes["poster"].spec.order
        assert all("poster" in told.modes for told in seen)


async def test_files_that_are_no_part_of_a_mode_and_equal_ones_change_nothing(
    tmp_path: Path,
) -> None:
    place = tmp_path / "poster"
    shutil.copytree(FREE, place)
    async with watching(tmp_path) as (_, seen):
        (place / ".mode.toml.swp").write_text("half")
        (place / "mode.toml~").write_text("half")
        (place / "mode.toml").touch()
        shutil.copytree(FREE, tmp_path / "banner")  # what is taken up next
        read = await seen.next()
        assert "banner" in read.modes
        assert len(seen) == 2


async def test_a_folder_that_comes_later_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    async with watching(folder) as (live, seen):
        assert "later" in live.current.broken
        shutil.copytree(FREE, folder / "poster")
        read = await seen.next()
        assert "poster" in read.modes
        assert not read.broken
