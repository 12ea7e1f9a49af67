"""Addresses of images that work without a key for an hour, as OpenAI's do, or while kept."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from itsdangerous import BadSignature, TimestampSigner
from pydantic import SecretStr

from web.errors import NotFound

_LIFETIME_S = 3600


@dataclass(frozen=True)
class Links:
    """Signs the addresses `/v1/files/{generation}/{number}/{issued}/{signature}`.

    Whoever has such an address can fetch the image, so logs must hide its last part.
    """

    hourly: TimestampSigner
    lasting: TimestampSigner
    """For chats: people scroll back to pictures of last week."""

    @classmethod
    def of(cls, keys: Mapping[str, SecretStr]) -> "Links":
        """Derive the secrets from the API keys, so that replicas read each other's links."""
        text = "\n".join(f"{name}:{key.get_secret_value()}" for name, key in sorted(keys.items()))
        return cls(_signer(text, b"easel links"), _signer(text, b"easel lasting links"))

    def path(self, generation_id: UUID, number: int, *, lasting: bool = False) -> str:
        signer = self.lasting if lasting else self.hourly
        return "/v1/files/" + signer.sign(f"{generation_id}/{number}").decode()

    def check(self, generation_id: UUID, number: int, issued: str, signature: str) -> None:
        """Raise NotFound when the address has expired or was not made here."""
        signed = f"{generation_id}/{number}/{issued}/{signature}"
        try:
            if not self.lasting.validate(signed):
                self.hourly.unsign(signed, max_age=_LIFETIME_S)
        except BadSignature as error:
            raise NotFound("This address has expired") from error


def _signer(secret: str, salt: bytes) -> TimestampSigner:
    # SHA-384 fills its base64 form without spare bits: no two signatures mean the same.
    return TimestampSigner(
        secret.encode(), salt=salt, sep="/", key_derivation="hmac", digest_method=hashlib.sha384
    )
