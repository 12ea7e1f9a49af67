"""Fetching model files from a server that cuts, lies and changes its mind."""

import fcntl
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from gpu_server.models.download import Downloader
from gpu_server.models.files import State, part_of, state_of
from gpu_server.models.manifest import ModelFile
from gpu_server.models.part import DownloadError, NoSpace
from gpu_server.models.sites import HUGGING_FACE, Site, Sites
from tests.gpu_server.models import origin as turns
from tests.gpu_server.models.conftest import MODEL, described
from tests.gpu_server.models.origin import Origin, running

Make = Callable[..., Downloader]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "vae" / "tiny.safetensors"


def leftovers(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()} - {target.name, f"{target.name}.ok"}


def test_a_fetched_file_is_complete_and_counts_as_installed(
    downloader: Make, model: ModelFile, target: Path
) -> None:
    seen: list[int] = []
    fetched = downloader(progress=lambda *now: seen.append(now[1])).pull([model])
    assert fetched == [model]
    assert target.read_bytes() == MODEL
    assert state_of(target.parents[1], model) is State.INSTALLED
    assert seen[-1] == model.size
    assert leftovers(target) == set()


def test_an_installed_file_is_neither_fetched_nor_read_again(
    downloader: Make, model: ModelFile, origin: Origin
) -> None:
    downloader().pull([model])
    read: list[int] = []
    assert downloader(progress=lambda *now: read.append(now[1])).pull([model]) == []
    assert len(origin.requests) == 1
    assert read == []


def test_a_fetch_resumes_where_the_connection_was_cut(
    downloader: Make, model: ModelFile, origin: Origin, target: Path
) -> None:
    origin.turns = [turns.cut_after(1_500_000), turns.cut_after(1_000_000)]
    downloader().pull([model])
    assert target.read_bytes() == MODEL
    assert [request.get("range") for request in origin.requests] == [
        None,
        "bytes=1500000-",
        "bytes=2500000-",
    ]
    assert origin.requests[1]["if-range"] == '"one"'


def test_an_interrupted_fetch_leaves_a_part_that_the_next_one_continues(
    downloader: Make, model: ModelFile, origin: Origin, target: Path
) -> None:
    def interrupt(file: ModelFile, done: int) -> None:
        if done > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        downloader(progress=interrupt).pull([model])
    kept = part_of(target).stat().st_size
    assert 1_000_000 < kept < model.size
    assert state_of(target.parents[1], model) is State.PARTIAL
    downloader().pull([model])
    assert origin.requests[1]["range"] == f"bytes={kept}-"
    assert target.read_bytes() == MODEL


def test_a_file_that_changed_between_two_attempts_is_fetched_from_its_beginning(
    downloader: Make, model: ModelFile, origin: Origin, target: Path
) -> None:
    def cut_then_change(request: turns.Request) -> None:
        turns.cut_after(1_000_000)(request)
        origin.etag = '"two"'

    origin.turns = [cut_then_change]
    downloader().pull([model])
    assert target.read_bytes() == MODEL


@pytest.mark.parametrize(
    "misbehave",
    [turns.ignore_range, turns.lie_about_the_range, turns.shift_the_range, turns.fail_with(416)],
)
def test_wrong_ranges_do_not_corrupt_the_file(
    downloader: Make,
    model: ModelFile,
    origin: Origin,
    target: Path,
    misbehave: Callable[[turns.Request], None],
) -> None:
    origin.turns = [turns.cut_after(1_000_000), misbehave]
    downloader().pull([model])
    assert target.read_bytes() == MODEL


def test_a_part_damaged_on_disk_is_not_continued(
    downloader: Make, model: ModelFile, origin: Origin, target: Path
) -> None:
    target.parent.mkdir(parents=True)
    part_of(target).write_bytes(bytes(1_000_000))
    downloader().pull([model])
    assert target.read_bytes() == MODEL


def test_a_part_longer_than_the_file_is_discarded(
    downloader: Make, model: ModelFile, target: Path
) -> None:
    target.parent.mkdir(parents=True)
    part_of(target).write_bytes(MODEL + b"more")
    downloader().pull([model])
    assert target.read_bytes() == MODEL


def test_a_complete_part_needs_no_request(
    downloader: Make, model: ModelFile, origin: Origin, target: Path
) -> None:
    target.parent.mkdir(parents=True)
    part_of(target).write_bytes(MODEL)
    downloader().pull([model])
    assert target.read_bytes() == MODEL
    assert origin.requests == []


def test_one_corrupt_transfer_is_repeated(
    downloader: Make, model: ModelFile, origin: Origin, target: Path
) -> None:
    origin.turns = [turns.corrupt]
    downloader().pull([model])
    assert target.read_bytes() == MODEL


def test_a_file_with_another_hash_is_never_put_in_place(
    downloader: Make, model: ModelFile, origin: Origin, target: Path
) -> None:
    origin.turns = [turns.corrupt] * 5
    with pytest.raises(DownloadError, match="tiny: its hash is not the one"):
        downloader().pull([model])
    assert not target.exists()
    assert part_of(target).stat().st_size == 0
    assert len(origin.requests) == 2


@pytest.mark.parametrize(("change", "size"), [(lambda c: c + b"x", 1), (lambda c: c[:-1], -1)])
def test_a_file_of_another_length_is_refused_before_its_bytes_are_fetched(
    downloader: Make,
    model: ModelFile,
    origin: Origin,
    change: Callable[[bytes], bytes],
    size: int,
) -> None:
    origin.content = change(MODEL)
    with pytest.raises(DownloadError, match=rf"has {model.size + size} bytes, models.json says"):
        downloader().pull([model])
    assert len(origin.requests) == 1


def test_an_endless_answer_is_cut_off(
    downloader: Make, model: ModelFile, origin: Origin, target: Path
) -> None:
    origin.turns = [turns.send_without_length(lambda content: content * 4)] * 2
    with pytest.raises(DownloadError, match="sends more than"):
        downloader().pull([model])
    assert part_of(target).stat().st_size <= model.size


def test_a_short_answer_without_a_length_is_continued(
    downloader: Make, model: ModelFile, origin: Origin, target: Path
) -> None:
    origin.turns = [turns.send_without_length(lambda content: content[:2_000_000])]
    downloader().pull([model])
    assert target.read_bytes() == MODEL
    assert origin.requests[1]["range"] == "bytes=2000000-"


def test_a_busy_server_is_retried_and_eventually_given_up(
    downloader: Make, model: ModelFile, origin: Origin, target: Path
) -> None:
    origin.turns = [turns.fail_with(503), turns.fail_with(429, Retry_After="0")]
    downloader().pull([model])
    target.unlink()
    origin.turns = [turns.fail_with(503)] * 9
    with pytest.raises(DownloadError, match=r"answers 503, 3 times in a row"):
        downloader(tries=3).pull([model])


def test_a_missing_file_is_told_without_the_query_of_its_address(
    downloader: Make, origin: Origin
) -> None:
    origin.turns = [turns.fail_with(404)]
    with pytest.raises(DownloadError, match=r"answers 404 for http://[0-9.:]+/x\.$"):
        downloader().pull([described(f"{origin.url}/x?key=secret", MODEL)])


@pytest.mark.parametrize("variable", ["HF_TOKEN", "CIVITAI_TOKEN"])
@pytest.mark.parametrize("refuse", [turns.fail_with(401), turns.fail_with(403), turns.show_a_page])
def test_a_refusal_names_the_variable_of_its_own_host(
    downloader: Make, model: ModelFile, origin: Origin, refuse: turns.Turn, variable: str
) -> None:
    origin.turns = [refuse] * 2
    other = {"HF_TOKEN": "CIVITAI_TOKEN", "CIVITAI_TOKEN": "HF_TOKEN"}[variable]
    sites = Sites((Site("https://elsewhere.example", other), Site(origin.url, variable)))
    with pytest.raises(DownloadError, match=f"licence there and set {variable} to") as without:
        downloader(sites=sites).pull([model])
    assert other not in str(without.value)
    held = Sites((replace(sites.known[1], token=SecretStr("s3cret")),))
    with pytest.raises(DownloadError, match=f"account that {variable} belongs to") as refused:
        downloader(sites=held).pull([model])
    assert "s3cret" not in str(refused.value)


def test_a_host_without_a_token_setting_is_told_so(
    downloader: Make, model: ModelFile, origin: Origin
) -> None:
    origin.turns = [turns.fail_with(401)]
    with pytest.raises(DownloadError, match="no token for this host") as refused:
        downloader().pull([model])
    assert "HF_TOKEN" not in str(refused.value)


def test_each_token_goes_to_its_own_host_only_and_never_across_a_redirect(
    downloader: Make, model: ModelFile, origin: Origin
) -> None:
    with running(MODEL) as other, running(MODEL) as storage:
        origin.turns = [turns.redirect_to(f"{storage.url}/signed")]
        other.turns = [turns.redirect_to(f"{origin.url}/b")]
        sites = Sites(
            (
                Site(origin.url, "HF_TOKEN", SecretStr("hf_secret")),
                Site(other.url, "CIVITAI_TOKEN", SecretStr("civitai_secret")),
            )
        )
        second = described(f"{other.url}/b", MODEL, id="b", dest="vae/b.safetensors")
        third = described(f"{storage.url}/c", MODEL, id="c", dest="vae/c.safetensors")
        downloader(sites=sites).pull([model, second, third])
        sent = [request.get("authorization") for request in (*origin.requests, *other.requests)]
        assert sent == ["Bearer hf_secret", None, "Bearer civitai_secret"]
        assert len(storage.requests) == 2
        assert not any("authorization" in request for request in storage.requests)


def test_a_mirror_serves_in_place_of_its_site_and_gets_no_token(
    downloader: Make, origin: Origin, target: Path
) -> None:
    mirror = replace(HUGGING_FACE, token=SecretStr("hf_secret"), mirror=f"{origin.url}/hf")
    file = described("https://huggingface.co/o/r/resolve/main/a.safetensors", MODEL)
    downloader(sites=Sites((mirror,))).pull([file])
    assert target.read_bytes() == MODEL
    assert origin.paths == ["/hf/o/r/resolve/main/a.safetensors"]
    assert "authorization" not in origin.requests[0]
    target.unlink()
    origin.turns = [turns.fail_with(401)]
    with pytest.raises(DownloadError, match="HF_ENDPOINT names this mirror"):
        downloader(sites=Sites((mirror,))).pull([file])


def test_a_signed_address_that_expired_is_requested_from_the_origin_again(
    downloader: Make, model: ModelFile, origin: Origin, target: Path
) -> None:
    with running(MODEL) as storage:
        signed = [turns.redirect_to(f"{storage.url}/signed?{n}") for n in range(9)]
        storage.turns = [
            turns.fail_with(403),
            turns.cut_after(1_000_000),
            turns.fail_with(403),
            turns.fail_with(403),
        ]
        origin.turns = list(signed)
        sites = Sites((Site(origin.url, "HF_TOKEN"),))
        downloader(sites=sites).pull([model])
        assert target.read_bytes() == MODEL
        assert storage.paths == [f"/signed?{n}" for n in range(5)]
        assert storage.requests[-1]["range"] == "bytes=1000000-"
        target.unlink()
        origin.turns, storage.turns = list(signed), [turns.fail_with(403)] * 9
        with pytest.raises(DownloadError, match=r"4 times in a row.* set HF_TOKEN"):
            downloader(sites=sites).pull([model])


def test_a_file_that_is_not_safetensors_is_refused_even_with_the_right_hash(
    downloader: Make, origin: Origin, target: Path
) -> None:
    origin.content = b"\x80\x04 a pickle that would run code"
    with pytest.raises(DownloadError, match="not a valid safetensors file"):
        downloader().pull([described(origin.url, origin.content)])
    assert not target.exists()


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_fetched(
    downloader: Make, origin: Origin
) -> None:
    huge = described(origin.url, MODEL, size=10**18)
    with pytest.raises(NoSpace, match=r"1000000000.0 GB have to be fetched, but .* free"):
        downloader().pull([huge])
    assert origin.requests == []


def test_a_disk_that_fills_up_during_a_fetch_is_reported_and_the_part_kept(
    downloader: Make, model: ModelFile, target: Path
) -> None:
    target.parent.mkdir(parents=True)
    small = ("mount", "-t", "tmpfs", "-o", "size=1m", "none", str(target.parent))
    if subprocess.run(small, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        with pytest.raises(NoSpace, match=r"the disk of .* is full"):
            downloader().pull([model])
        assert 0 < part_of(target).stat().st_size < model.size
    finally:
        subprocess.run(("umount", str(target.parent)), check=True)


def test_two_programs_do_not_fetch_one_file_at_the_same_time(
    downloader: Make, model: ModelFile, target: Path
) -> None:
    target.parent.mkdir(parents=True)
    with part_of(target).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="fetched by another program"):
            downloader().pull([model])
