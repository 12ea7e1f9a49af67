"""`./startup.sh modes` and `doctor` say the same of a broken mode of one's own."""

import json
import shutil
from pathlib import Path

import workflows
from tests.infra.supervisor.conftest import LabHost, free_port


def test_the_doctor_names_a_broken_mode_by_the_check_of_modes(lab: LabHost) -> None:
    folder = lab.path / "modes" / "poster"
    shutil.copytree(Path(workflows.__file__).parent / "free", folder)
    graph = folder / "sdxl.json"
    graph.write_text(graph.read_text().replace('"EmptyLatentImage"', '"EmptyLatentImag"'))
    lab.environment |= {
        "EASEL_WORKFLOWS_DIR": str(folder.parent),
        "COMFYUI_PORT": str(free_port()),
        "EASEL_SERVICE_TABLE": "",
        "COMFYUI_DIR": str(lab.path / "none"),
    }
    checked = lab.run("modes", "check", "--json")
    assert checked.returncode == 4, checked.stderr
    reasons = [fault["reason"] for fault in json.loads(checked.stdout)["reasons"]]
    report = json.loads(lab.run("doctor", "--json").stdout)
    [finding] = [f for f in report["findings"] if f["check"].startswith("mode")]
    assert (finding["check"], finding["result"]) == ("mode poster", "fault")
    assert finding["message"] == "; ".join(reasons)
    assert "EmptyLatentImag" in finding["message"]
    assert "modes check poster" in finding["remedy"]
    assert lab.run("modes", "check", "free").returncode == 0
    assert lab.run("modes", "paint").returncode == 2
