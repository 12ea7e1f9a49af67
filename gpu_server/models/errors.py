"""Why a download fails: DownloadError ends it, Transient is worth another try."""


class DownloadError(Exception):
    """A file cannot be fetched; the message says which, why and what to do."""


class NoSpace(DownloadError):
    """The disk is too small for the files to fetch."""


class Transient(Exception):
    """One attempt failed; the server asked to wait `pause_s` before the next."""

    def __init__(self, message: str, pause_s: float = 0.0) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class WrongContent(Transient):
    """The bytes received are not those of the file, so the part is useless."""
