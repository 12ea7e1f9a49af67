"""Who may do what, and how much of it."""

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from backend.storage.generations import GenerationStore, Spent
from web.errors import QuotaExceeded, RateLimited, Unauthorized

ANYBODY = "local"
"""The owner of everything on a backend without keys, which only loopback can reach."""
MINUTE_S = 60.0
DAY_S = 86_400.0


@dataclass(frozen=True)
class Keys:
    """The API keys by name. Compared in constant time, all of them each time."""

    keys: Mapping[str, SecretStr]

    def owner(self, given: str) -> str:
        """The name of the key `given`; raises Unauthorized."""
        if not self.keys:
            return ANYBODY
        secret = given.strip().encode()
        found = ""
        for name, key in self.keys.items():
            if hmac.compare_digest(secret, key.get_secret_value().encode()):
                found = name
        if not found:
            raise Unauthorized("A valid key is needed: send it as 'Authorization: Bearer KEY'")
        return found


@dataclass(frozen=True)
class Quotas:
    """Per user; 0 is no limit."""

    per_minute: int
    images_per_day: int

    async def check(self, store: GenerationStore, owner: str, user: str, images: int) -> None:
        """Raises RateLimited or QuotaExceeded with the seconds until it would pass."""
        if not self.per_minute and not self.images_per_day:
            return
        now = time.time()
        since = now - (DAY_S if self.images_per_day else MINUTE_S)
        spent = await store.spent(owner, user, since)
        self._check_rate([t for t, _ in spent.generations if t > now - MINUTE_S], now)
        self._check_day(spent, now, images)

    def _check_rate(self, times: list[float], now: float) -> None:
        if self.per_minute and len(times) >= self.per_minute:
            free = times[len(times) - self.per_minute] + MINUTE_S
            raise RateLimited(
                f"At most {self.per_minute} generations a minute; wait a little",
                retry_after=free - now,
            )

    def _check_day(self, spent: Spent, now: float, images: int) -> None:
        used = sum(count for _, count in spent.generations)
        left = self.images_per_day - used
        if not self.images_per_day or images <= left:
            return
        free = now + DAY_S  # for more pictures than a day has: never
        for created, count in spent.generations:
            left += count
            if images <= left:
                free = created + DAY_S
                break
        raise QuotaExceeded(
            f"{used} of {self.images_per_day} pictures of the day are used", retry_after=free - now
        )
