"""Addresses of images that work without a key: each opens one image, for an hour."""

import time
from uuid import UUID

import pytest
from itsdangerous import TimestampSigner
from pydantic import SecretStr

from backend.openai.links import Links
from web.errors import NotFound

ONE = UUID(int=1)
LINKS = Links.of({"shop": SecretStr("a-key")})


def parts(path: str) -> tuple[str, str]:
    _, version, files, _, _, issued, signature = path.split("/")
    assert (version, files) == ("v1", "files")
    return issued, signature


def test_an_address_opens_its_image_on_every_replica_with_the_same_keys() -> None:
    issued, signature = parts(LINKS.path(ONE, 0))
    Links.of({"shop": SecretStr("a-key")}).check(ONE, 0, issued, signature)


def test_no_other_last_letter_opens_the_image() -> None:
    issued, signature = parts(LINKS.path(ONE, 0))
    for letter in set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"):
        if letter != signature[-1]:
            with pytest.raises(NotFound):
                LINKS.check(ONE, 0, issued, signature[:-1] + letter)


def test_an_address_opens_nothing_else_and_not_with_other_keys() -> None:
    issued, signature = parts(LINKS.path(ONE, 0))
    for links, generation, number in (
        (LINKS, ONE, 1),
        (LINKS, UUID(int=2), 0),
        (Links.of({"shop": SecretStr("another-key")}), ONE, 0),
    ):
        with pytest.raises(NotFound):
            links.check(generation, number, issued, signature)


def test_an_address_expires_after_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    issued, signature = parts(LINKS.path(ONE, 0))
    began = int(time.time())
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda _: began + 3590)
    LINKS.check(ONE, 0, issued, signature)
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda _: began + 3605)
    with pytest.raises(NotFound):
        LINKS.check(ONE, 0, issued, signature)


def test_the_address_in_a_chat_opens_its_image_as_long_as_that_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    issued, signature = parts(LINKS.path(ONE, 0, lasting=True))
    began = int(time.time())
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda _: began + 700_000)
    LINKS.check(ONE, 0, issued, signature)
    with pytest.raises(NotFound):
        LINKS.check(ONE, 1, issued, signature)
