"""The newest pictures in memory: who waits for one need not read back what was just written."""

from collections import OrderedDict

MAX_BYTES = 32_000_000


class RecentImages:
    """Pictures by their place in the store; the oldest make room for new ones."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def put(self, path: str, data: bytes) -> None:
        self.forget(path)
        self._kept[path] = data
        self._bytes += len(data)
        while self._bytes > self._max_bytes:
            self._bytes -= len(self._kept.popitem(last=False)[1])

    def get(self, path: str) -> bytes | None:
        return self._kept.get(path)

    def forget(self, path: str) -> None:
        self._bytes -= len(self._kept.pop(path, b""))
