"""How much one user may have drawn in a minute and in a day."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from backend.storage.generations import GenerationRow, GenerationStore
from web.errors import QuotaExceeded, RateLimited

_MINUTE_S = 60.0
DAY_S = 86_400.0
AHEAD_S = 60.0
"""An entry dated further ahead than this was written while the clock was wrong. It does not count:
its user would have to wait until that date."""


@dataclass(frozen=True, kw_only=True)
class Quotas:
    """Limits for each user with a name; 0 is no limit."""

    per_minute: int
    images_per_day: int

    async def check(
        self, store: GenerationStore, row: GenerationRow, waiting: Sequence[GenerationRow] = ()
    ) -> None:
        """Raise RateLimited or QuotaExceeded if the user may not have this one too.

        `waiting` are generations of the user that are not committed yet. Nobody without a name is
        limited: that would be by what others behind the same key do.
        """
        if not row.user or not (self.per_minute or self.images_per_day):
            return
        now = time.time()
        since = now - (DAY_S if self.images_per_day else _MINUTE_S)
        spent = await store.spent(row.owner, row.user, since)
        spent += [(one.created, one.request.count) for one in waiting if one.created > since]
        spent = sorted(one for one in spent if one[0] <= now + AHEAD_S)
        times = [t for t, _ in spent if t > now - _MINUTE_S]
        if self.per_minute and len(times) >= self.per_minute:
            free = times[len(times) - self.per_minute] + _MINUTE_S
            raise RateLimited(
                f"At most {self.per_minute} generations a minute; wait a little",
                retry_after=min(free - now, _MINUTE_S),
            )
        self._check_day(spent, now, row.request.count)

    def _check_day(self, spent: list[tuple[float, int]], now: float, images: int) -> None:
        used = sum(count for _, count in spent)
        left = self.images_per_day - used
        if not self.images_per_day or images <= left:
            return
        free = now + DAY_S  # more images than a whole day allows: no wait would help
        for created, count in spent:
            left += count
            if images <= left:
                free = created + DAY_S
                break
        raise QuotaExceeded(
            f"{used} of the {self.images_per_day} pictures allowed in a day are used",
            retry_after=min(free - now, DAY_S),
        )
