"""Who may do what, and how much of it."""

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from backend.store import Spent, Store
from web.errors import QuotaExceeded, RateLimited, Unauthorized

ANYBODY = "local"
"""The owner of everything on a backend without keys, which only loopback can reach."""
DAY_S = 86_400


@dataclass(frozen=True)
class Keys:
    """The API keys by name. Compared in constant time, all of them each time."""

    keys: Mapping[str, SecretStr]

    def owner(self, authorization: str) -> str:
        """The name of the key in an `Authorization` header; raises Unauthorized."""
        if not self.keys:
            return ANYBODY
        given = authorization.removeprefix("Bearer ").strip().encode()
        found = ""
        for name, key in self.keys.items():
            if hmac.compare_digest(given, key.get_secret_value().encode()):
                found = name
        if not found:
            raise Unauthorized("A valid key is needed: send it as 'Authorization: Bearer KEY'")
        return found


@dataclass(frozen=True)
class Quotas:
    """Per user; 0 is no limit."""

    per_minute: int
    images_per_day: int

    async def check(self, store: Store, owner: str, user: str, images: int) -> None:
        """Raises RateLimited or QuotaExceeded with the seconds until it would pass."""
        if not self.per_minute and not self.images_per_day:
            return
        now = time.time()
        spent = await store.spent(owner, user, now)
        self._check(spent, now, images)

    def _check(self, spent: Spent, now: float, images: int) -> None:
        if self.per_minute and spent.requests >= self.per_minute:
            raise RateLimited(
                f"At most {self.per_minute} generations a minute; wait a little",
                retry_after=max(spent.first_request + 60 - now, 1),
            )
        if self.images_per_day and spent.images + images > self.images_per_day:
            raise QuotaExceeded(
                f"{spent.images} of {self.images_per_day} pictures of the day are used",
                retry_after=max(spent.first_image + DAY_S - now, 1),
            )
