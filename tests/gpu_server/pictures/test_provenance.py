"""Marks in produced pictures, read back with Pillow and with C2PA's own reader."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngInfo

from gpu_server.pictures.provenance import MEDIA_TYPES, Origin, ProvenanceError, Signer, xmp_packet
from tests.signatures import EMAIL, PrivateKey, operators, read_manifest, read_xmp
from web import VERSION

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
WHEN = datetime(2026, 3, 4, 12, 30, 15, 999, timezone(timedelta(hours=3)))
BY_AI = Origin("free", "realism", "Z-Image Turbo", ai=True, created=WHEN)
SKETCH = Origin("restyle", "anime", "sketch engine", ai=False, created=WHEN)
CLAIM_SIGNING = x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("provenance")


@pytest.fixture(scope="module")
def signer(home: Path) -> Signer:
    return Signer.load(home)


def picture() -> Image.Image:
    return Image.radial_gradient("L").convert("RGB")


def encoded(media_type: str, origin: Origin) -> bytes:
    packet, file = xmp_packet(origin), BytesIO()
    if media_type == "image/png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        picture().save(file, "PNG", pnginfo=info)
    else:
        picture().save(file, media_type.removeprefix("image/"), xmp=packet)
    return file.getvalue()


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize(
    ("origin", "source"), [(BY_AI, "trainedAlgorithmicMedia"), (SKETCH, "algorithmicMedia")]
)
def test_a_reader_sees_how_and_with_what_a_picture_was_made(
    signer: Signer, home: Path, media_type: str, origin: Origin, source: str
) -> None:
    signed = signer.sign(encoded(media_type, origin), media_type, origin)
    state, manifest = read_manifest(
        signed, media_type, (home / "signing/certificate.pem").read_text()
    )
    assert state == "Trusted"
    generator = manifest["claim_generator_info"][0]
    assert (generator["name"], generator["version"]) == ("Easel", VERSION)
    assertions = {each["label"]: each["data"] for each in manifest["assertions"]}
    [action] = assertions["c2pa.actions.v2"]["actions"]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"] == SOURCE_TYPES + source
    assert action["when"] == "2026-03-04T09:30:15Z"
    assert assertions["easel.generation"] == {
        "mode": origin.mode,
        "style": origin.style,
        "model": origin.model,
    }
    assert "time" not in manifest["signature_info"]  # no authority was asked for one


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_the_xmp_packet_says_the_same_and_survives_signing(signer: Signer, media_type: str) -> None:
    by_ai = read_xmp(signer.sign(encoded(media_type, BY_AI), media_type, BY_AI))
    assert by_ai["DigitalSourceType"] == SOURCE_TYPES + "trainedAlgorithmicMedia"
    assert by_ai["AISystemUsed"] == "Z-Image Turbo"
    assert by_ai["CreateDate"] == "2026-03-04T09:30:15Z"
    assert by_ai["CreatorTool"] == f"Easel/{VERSION}"
    sketch = read_xmp(signer.sign(encoded(media_type, SKETCH), media_type, SKETCH))
    assert sketch["DigitalSourceType"] == SOURCE_TYPES + "algorithmicMedia"
    assert "AISystemUsed" not in sketch


def test_a_models_name_with_special_characters_does_not_break_the_packet(signer: Signer) -> None:
    odd = Origin("free", "<&>", 'a <b> & "c" модель {x}', ai=True, created=WHEN)
    data = encoded("image/png", odd)
    assert read_xmp(data)["AISystemUsed"] == odd.model
    _, manifest = read_manifest(signer.sign(data, "image/png", odd), "image/png")
    assert manifest["assertions"][1]["data"]["model"] == odd.model


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_signing_leaves_the_pixels_alone(signer: Signer, media_type: str) -> None:
    plain = encoded(media_type, BY_AI)
    signed = signer.sign(plain, media_type, BY_AI)
    with Image.open(BytesIO(plain)) as before, Image.open(BytesIO(signed)) as after:
        assert ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox() is None


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_picture_changed_after_signing_is_no_longer_valid(
    signer: Signer, media_type: str
) -> None:
    signed = bytearray(signer.sign(encoded(media_type, BY_AI), media_type, BY_AI))
    signed[-40] ^= 1
    assert read_manifest(bytes(signed), media_type)[0] == "Invalid"


def test_without_our_authority_a_signature_is_valid_but_untrusted(signer: Signer) -> None:
    signed = signer.sign(encoded("image/png", BY_AI), "image/png", BY_AI)
    assert read_manifest(signed, "image/png")[0] == "Valid"


def test_threads_share_a_signer(signer: Signer) -> None:
    data = encoded("image/jpeg", BY_AI)
    with ThreadPoolExecutor(4) as pool:
        signed = list(pool.map(lambda _: signer.sign(data, "image/jpeg", BY_AI), range(12)))
    assert [read_manifest(each, "image/jpeg")[0] for each in signed] == ["Valid"] * 12


@pytest.mark.parametrize("media_type", ["image/gif", "image/png; charset=x", "text/plain", ""])
def test_other_formats_are_refused_with_what_is_allowed(signer: Signer, media_type: str) -> None:
    with pytest.raises(ProvenanceError, match="image/webp"):
        signer.sign(b"GIF89a", media_type, BY_AI)


@pytest.mark.parametrize("data", [b"", b"no picture"])
@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_what_is_no_picture_is_not_signed(signer: Signer, media_type: str, data: bytes) -> None:
    with pytest.raises(ProvenanceError):
        signer.sign(data, media_type, BY_AI)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Origin("free", "realism", "x", ai=True, created=WHEN.replace(tzinfo=None))


def test_the_key_is_made_once_and_only_its_owner_can_read_it(home: Path, signer: Signer) -> None:
    files = sorted((home / "signing").iterdir())
    assert [each.name for each in files] == ["certificate.pem", "key.pem"]
    assert [each.stat().st_mode & 0o777 for each in files] == [0o600] * 2
    before = [each.read_bytes() for each in files]
    Signer.load(home)
    assert [each.read_bytes() for each in files] == before


LOAD_WHEN_TOLD = """
import pathlib, sys
from gpu_server.pictures.provenance import Signer
print("ready", flush=True)
input()
Signer.load(pathlib.Path(sys.argv[1]))
print(pathlib.Path(sys.argv[1], "signing/certificate.pem").read_text())
"""


def test_processes_that_start_together_end_up_with_one_certificate(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOAD_WHEN_TOLD, str(tmp_path / "data")]
    root, pipe = Path(__file__).parents[3], subprocess.PIPE
    with ExitStack() as stack:
        started = [
            stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=root))
            for _ in range(4)
        ]
        assert [each.stdout and each.stdout.readline() for each in started] == [b"ready\n"] * 4
        for each in started:
            assert each.stdin
            each.stdin.write(b"\n")
            each.stdin.flush()
        printed = {each.communicate(timeout=60)[0] for each in started}
    assert len(printed) == 1
    assert [each.name for each in (tmp_path / "data").iterdir()] == ["signing"]
    assert (tmp_path / "data/signing/certificate.pem").read_bytes() in printed.pop()


def test_a_half_deleted_certificate_is_reported_not_replaced(tmp_path: Path) -> None:
    Signer.load(tmp_path)
    (tmp_path / "signing/key.pem").unlink()
    with pytest.raises(ProvenanceError, match="cannot be read or made"):
        Signer.load(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["signing"]


@pytest.mark.parametrize("purpose", [EMAIL, CLAIM_SIGNING])
@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate,
        lambda: rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "Ed25519", "RSA"],
)
def test_an_operators_own_certificate_signs(
    tmp_path: Path, make: Callable[[], PrivateKey], purpose: x509.ObjectIdentifier
) -> None:
    signer = Signer.load(tmp_path / "unused", *operators(tmp_path, make(), purpose))
    signed = signer.sign(encoded("image/webp", BY_AI), "image/webp", BY_AI)
    _, manifest = read_manifest(signed, "image/webp")
    assert manifest["signature_info"]["issuer"] == "Press Ltd Pictures"
    assert not (tmp_path / "unused").exists()


def test_a_certificate_for_another_purpose_is_refused(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(ProvenanceError, match="does not accept the certificate"):
        Signer.load(tmp_path, *operators(tmp_path, key, ExtendedKeyUsageOID.SERVER_AUTH))


def test_a_certificate_that_has_run_out_is_refused(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(ProvenanceError, match="not valid at time"):
        Signer.load(tmp_path, *operators(tmp_path, key, ends=timedelta(days=-1)))


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    certificate, key = operators(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    other = ec.generate_private_key(ec.SECP256R1())
    key.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ProvenanceError, match="does not accept the certificate"):
        Signer.load(tmp_path, certificate, key)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nno\n"])
def test_a_damaged_key_is_refused(tmp_path: Path, content: bytes) -> None:
    certificate, key = operators(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    key.write_bytes(content)
    with pytest.raises(ProvenanceError, match="cannot be used"):
        Signer.load(tmp_path, certificate, key)


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    certificate, key = operators(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(ProvenanceError, match="both or neither"):
        Signer.load(tmp_path, certificate)
    with pytest.raises(ProvenanceError, match="cannot be read"):
        Signer.load(tmp_path, certificate, key.with_name("absent.key"))
