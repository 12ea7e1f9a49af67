"""Mark every image as machine-made, readable by machines: an XMP packet and a C2PA manifest.

Both state the image's origin in IPTC's terms (`trainedAlgorithmicMedia` for an AI model,
`algorithmicMedia` for the sketch engine's program) and name the model, if any; the manifest adds
mode and style. Neither has the prompt, the user or any id. Nothing here uses the network: no
timestamping authority, no revocation or trust lists, no remote manifests.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import c2pa
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from PIL import Image

from gpu_server.pictures import certificates
from web import VERSION

MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp")
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_ES = {256: "es256", 384: "es384", 521: "es512"}
_SETTINGS: dict[str, Any] = {
    "version": 1,
    "core": {"allowed_network_hosts": []},  # whatever a manifest asks for
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {
        "thumbnail": {"enabled": False},
        "actions": {"auto_created_action": {"enabled": False}},
    },
    # Accepted purposes of a certificate: e-mail, documents, and C2PA's own (claim signing).
    "trust": {"trust_config": "1.3.6.1.5.5.7.3.4\n1.3.6.1.5.5.7.3.36\n1.3.6.1.4.1.62558.2.1"},
}
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <xmp:CreatorTool>{tool}</xmp:CreatorTool>
   <xmp:CreateDate>{created}</xmp:CreateDate>
   <Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>{system}
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
_XMP_SYSTEM = "\n   <Iptc4xmpExt:AISystemUsed>{model}</Iptc4xmpExt:AISystemUsed>"


class ProvenanceError(RuntimeError):
    """Images, or this image, cannot be signed. The message is for the log and the operator."""


@dataclass(frozen=True)
class Origin:
    """Where an image comes from. `model`: the model's name, or the engine's if `ai` is false."""

    mode: str
    style: str
    model: str
    ai: bool
    created: datetime

    def __post_init__(self) -> None:
        """Refuse a time without a zone: readers would shift it. Raises ValueError."""
        if self.created.tzinfo is None:
            raise ValueError("created has no time zone: give an aware datetime, such as now(UTC)")

    @property
    def source_type(self) -> str:
        """IPTC's digital source type, a URI."""
        return _SOURCE_TYPES + ("trainedAlgorithmicMedia" if self.ai else "algorithmicMedia")

    @property
    def when(self) -> str:
        """The time of creation, ISO 8601 in UTC, to the second."""
        return self.created.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def xmp_packet(origin: Origin) -> bytes:
    """Return the XMP packet (UTF-8), to be written as the image is encoded, before signing."""
    system = _XMP_SYSTEM.format(model=escape(origin.model)) if origin.ai else ""
    packet = _XMP.format(
        tool=f"Easel/{VERSION}", created=origin.when, source=origin.source_type, system=system
    )
    return packet.encode()


class Signer:
    """Signs finished files. Create it once; threads may share it; `sign` blocks."""

    def __init__(self, chain: bytes, key: bytes) -> None:
        """Load a PEM certificate chain (signer's first) and its key. Raises ProvenanceError."""
        try:
            info = c2pa.C2paSignerInfo(_algorithm(key), chain, key, None)
            self._context = c2pa.Context.from_dict(_SETTINGS, c2pa.Signer.from_info(info))
        except (c2pa.C2paError, ValueError, TypeError) as error:
            raise ProvenanceError(f"the certificate or its key cannot be used: {error}") from error
        self._try_out()

    @classmethod
    def load(
        cls, directory: Path, certificate: Path | None = None, key: Path | None = None
    ) -> "Signer":
        """Load the operator's certificate chain and key (PEM), or our own from `directory`/signing.

        Our own are made on first use, valid for ten years, by an authority that only this
        installation has. Readers that know its certificate show images as trusted, others as valid.
        Raises ProvenanceError.
        """
        if (certificate is None) != (key is None):
            raise ProvenanceError("a certificate and its key belong together: set both or neither")
        folder = directory / "signing"
        try:
            if certificate is None or key is None:
                certificates.ensure(folder)
                certificate, key = folder / certificates.CERTIFICATE, folder / certificates.KEY
            return cls(certificate.read_bytes(), key.read_bytes())
        except OSError as error:
            raise ProvenanceError(
                f"the signing certificate or its key cannot be read or made: {error.strerror}"
                f" ({Path(str(error.filename)).name})"
            ) from error

    def sign(self, data: bytes, media_type: str, origin: Origin) -> bytes:
        """Return the file with a signed C2PA manifest, some 3 KB larger.

        Pixels and other metadata are unchanged. The same image signed twice has different bytes
        (ids, signature): compare pixels, not files. Raises ProvenanceError.
        """
        if media_type not in MEDIA_TYPES:
            raise ProvenanceError(f"cannot sign {media_type}: allowed are {', '.join(MEDIA_TYPES)}")
        signed = BytesIO()
        try:
            builder = c2pa.Builder(_manifest(origin), context=self._context)
            builder.sign(media_type, BytesIO(data), signed)
        except c2pa.C2paError as error:
            raise ProvenanceError(f"the image could not be signed: {error}") from error
        return signed.getvalue()

    def _try_out(self) -> None:
        """Sign an image and read it back: the library notices some faults only on reading."""
        picture = BytesIO()
        Image.new("RGB", (8, 8)).save(picture, "PNG")
        origin = Origin("free", "none", "none", ai=False, created=datetime.now(UTC))
        try:
            signed = BytesIO(self.sign(picture.getvalue(), "image/png", origin))
            with (
                c2pa.Context.from_dict(_SETTINGS) as context,
                c2pa.Reader("image/png", signed, context=context) as reader,
            ):
                state, results = reader.get_validation_state(), reader.get_validation_results()
        except (ProvenanceError, c2pa.C2paError) as error:
            reason = error.__cause__ or error
            raise ProvenanceError(f"C2PA does not accept the certificate: {reason}") from error
        if state not in {"Valid", "Trusted"}:
            codes = {each["code"] for each in results["activeManifest"]["failure"]}
            faults = sorted(codes - {"signingCredential.untrusted"})  # any issuer will do
            raise ProvenanceError(f"C2PA does not accept the certificate: {', '.join(faults)}")


def _manifest(origin: Origin) -> dict[str, Any]:
    created = {
        "action": "c2pa.created",
        "when": origin.when,
        "digitalSourceType": origin.source_type,
        "softwareAgent": {"name": origin.model},
    }
    generation = {"mode": origin.mode, "style": origin.style, "model": origin.model}
    return {
        "claim_generator_info": [{"name": "Easel", "version": VERSION}],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": "easel.generation", "data": generation},
        ],
    }


def _algorithm(key: bytes) -> str:
    """Return C2PA's name for the algorithm a private key signs with. Raises ValueError."""
    private = load_pem_private_key(key, password=None)
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.key_size in _ES:
        return _ES[private.curve.key_size]
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    raise ValueError(
        "C2PA does not support this kind of key: use P-256, P-384, P-521, Ed25519 or RSA"
    )
