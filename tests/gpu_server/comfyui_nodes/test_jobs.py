from pathlib import Path

import pytest

from gpu_server.comfyui_nodes.jobs import is_job_id, remove_job

JOB = "0d4fc6a2-6a0e-4f0e-9f43-1f0f6f6f7a01"
OTHER = "0d4fc6a2-6a0e-4f0e-9f43-1f0f6f6f7a02"


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_a_canonical_uuid_is_a_job_id() -> None:
    assert is_job_id(JOB)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "*",
        JOB.upper(),
        JOB.replace("-", ""),
        "{" + JOB + "}",
        "urn:uuid:" + JOB,
        JOB[:-1],
        JOB + "0",
        JOB + "\n",
        JOB + "/..",
    ],
)
def test_anything_else_is_not_a_job_id(text: str) -> None:
    assert not is_job_id(text)


def test_all_folders_of_a_job_are_removed_and_their_files_counted(tmp_path: Path) -> None:
    directories = [tmp_path / name for name in ("input", "output", "temp")]
    put(tmp_path / "input/easel" / JOB / "photo.png")
    put(tmp_path / "output/easel" / JOB / "image_00001_.ppm")
    put(tmp_path / "output/easel" / JOB / "deep/er/image_00001_.ppm")
    put(tmp_path / "output/easel" / f"{JOB}-2" / "image_00001_.ppm")
    assert remove_job(JOB, directories) == 4
    assert [path for path in tmp_path.rglob("*") if JOB in path.name] == []


def test_other_jobs_and_other_files_stay(tmp_path: Path) -> None:
    kept = [
        put(tmp_path / "easel" / OTHER / "image_00001_.ppm"),
        put(tmp_path / "easel" / f"{JOB}.txt"),
        put(tmp_path / JOB / "not-in-easel.png"),
    ]
    assert remove_job(JOB, [tmp_path]) == 0
    assert all(path.exists() for path in kept)


def test_removing_again_removes_nothing(tmp_path: Path) -> None:
    put(tmp_path / "easel" / JOB / "image_00001_.ppm")
    assert remove_job(JOB, [tmp_path]) == 1
    assert remove_job(JOB, [tmp_path]) == 0
    assert remove_job(JOB, [tmp_path / "missing"]) == 0


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    """This holds for a link in a job's folder, in place of it, and in place of `easel`."""
    precious = put(tmp_path / "elsewhere" / JOB / "precious.png")
    easel = tmp_path / "output/easel"
    put(easel / JOB / "image_00001_.ppm")
    (easel / JOB / "link").symlink_to(precious.parent)
    (easel / f"{JOB}-link").symlink_to(precious.parent)
    (tmp_path / "input").mkdir()
    (tmp_path / "input/easel").symlink_to(tmp_path / "elsewhere")
    assert remove_job(JOB, [tmp_path / "input", tmp_path / "output"]) == 1
    assert precious.exists()
    assert not (easel / JOB).exists()
