"""An image stays marked and signed by the operator, in whichever format it is fetched."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from backend.main import create_app
from backend.settings import Settings
from tests import services
from tests.signatures import operators, read_manifest, read_xmp
from web.settings import SettingsError, load

WORDS = "zebra xylophone"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, str]]:
    """Draw an image that is kept as PNG; return a client of its backend and its address."""
    folder: Path = tmp_path_factory.mktemp("signatures")
    certificate, key = operators(folder, ec.generate_private_key(ec.SECP256R1()))
    own = {"gpu_signing_certificate": certificate, "gpu_signing_key": key}
    with (
        services.sketch_engine(folder / "engine") as engine,
        services.gpu_server(engine, folder / "pod", **own) as pod,
    ):
        settings = Settings(
            easel_data_dir=folder / "backend",
            backend_gpu_servers=[pod],
            backend_signing_certificate=certificate,
            backend_signing_key=key,
        )
        with (
            services.served(create_app(settings)) as url,
            httpx.Client(base_url=url, timeout=60, trust_env=False) as http,
        ):
            services.until(lambda: services.is_ready(url), "the backend is ready")
            asked = {"prompt": WORDS, "width": 256, "height": 256, "user": "walrus"}
            number = http.post("/generate", json=asked).json()["id"]
            yield http, f"/generations/{number}/images/0"
    assert not (folder / "backend" / "signing").exists()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_it_carries_the_operators_signature_and_nobodys_words(
    drawn: tuple[httpx.Client, str], kind: str
) -> None:
    http, address = drawn
    data = http.get(address, params={"format": kind}).content
    state, manifest = read_manifest(data, f"image/{kind}")
    assert state == "Valid"
    assert manifest["signature_info"]["issuer"] == "Press Ltd Pictures"
    assertions = {each["label"]: each["data"] for each in manifest["assertions"]}
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia"  # a sketch: no AI
    assert assertions["c2pa.actions.v2"]["actions"][0]["digitalSourceType"] == source
    assert assertions["easel.generation"]["mode"] == "free"
    assert read_xmp(data)["DigitalSourceType"] == source
    for word in (*WORDS.split(), "walrus"):
        assert word not in str(manifest)
        assert word.encode() not in data


def test_a_certificate_without_its_key_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BACKEND_SIGNING_CERTIFICATE", str(tmp_path / "own.pem"))
    with pytest.raises(SettingsError, match="BACKEND_SIGNING_KEY belong together"):
        load(Settings, tmp_path / ".env")
