"""API keys: who calls."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from web.errors import Unauthorized

ANYBODY = "local"
"""The owner of everything on a backend without keys, which only loopback can reach."""


@dataclass(frozen=True)
class Keys:
    keys: Mapping[str, SecretStr]

    def owner(self, presented: str) -> str:
        """Return the name of the presented key. Raises Unauthorized when none matches."""
        if not self.keys:
            return ANYBODY
        secret = presented.strip().encode()
        owner = ""  # every key is compared, each in constant time
        for name, key in self.keys.items():
            if hmac.compare_digest(secret, key.get_secret_value().encode()):
                owner = name
        if not owner:
            raise Unauthorized("A valid key is needed: send it as 'Authorization: Bearer KEY'")
        return owner
