"""Reads the marks of a picture, and makes certificates as an operator would bring them."""

import json
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

EMAIL = ExtendedKeyUsageOID.EMAIL_PROTECTION
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def read_manifest(
    data: bytes, media_type: str, anchors: str | None = None
) -> tuple[str | None, dict[str, Any]]:
    settings: dict[str, Any] = {"core": {"allowed_network_hosts": []}}
    if anchors:
        settings["trust"] = {"user_anchors": anchors}
    with (
        c2pa.Context.from_dict(settings) as context,
        c2pa.Reader(media_type, BytesIO(data), context=context) as reader,
    ):
        assert reader.get_remote_url() is None
        manifests = json.loads(reader.json())
        assert len(manifests["manifests"]) == 1
        return reader.get_validation_state(), manifests["manifests"][manifests["active_manifest"]]


def read_xmp(data: bytes) -> dict[str, str | None]:
    with Image.open(BytesIO(data)) as image:
        image.load()
        packet = image.info["xmp"]
    tree = ElementTree.fromstring(packet.decode().strip("\ufeff\0 \n") if packet else "")
    return {each.tag.split("}")[1]: each.text for each in tree.iter()}


def operators(
    folder: Path,
    key: PrivateKey,
    purpose: x509.ObjectIdentifier = EMAIL,
    ends: timedelta = timedelta(days=9),
) -> tuple[Path, Path]:
    """Make an operator's certificate and key, issued by an authority of their own."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Press Ltd")])
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Press Ltd Pictures")])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(datetime.now(UTC) - timedelta(days=30))
        .not_valid_after(datetime.now(UTC) + ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    paths = folder / "own.pem", folder / "own.key"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths
