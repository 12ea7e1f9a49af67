import pytest

from infra.ssh.redact import Redactor, holds_secret, redact

BOT_TOKEN = b"123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"token " + BOT_TOKEN + b".", b"token [redacted]."),
        (
            b"https://api.telegram.org/bot" + BOT_TOKEN + b"/getMe",
            b"https://api.telegram.org/bot[redacted]/getMe",
        ),
        (b"HF_TOKEN=hf_aBcDeFgHiJkLmNoP", b"HF_TOKEN=[redacted]"),
        (b"rpa_ABCDEFGH0123", b"[redacted]"),
        (b"api_org_aBcDeFgHiJ", b"[redacted]"),
        (b"CIVITAI_TOKEN=0123456789abcdef0123456789abcdef", b"CIVITAI_TOKEN=[redacted]"),
        (
            b"GET https://civitai.com/api/download/models/1?a=b&token=0123456789abcdef01&c=d",
            b"GET https://civitai.com/api/download/models/1?a=b&token=[redacted]&c=d",
        ),
        (b"authorization: bearer abcdefgh.ijk", b"authorization: bearer [redacted]"),
    ],
)
def test_secrets_are_masked(text: bytes, shown: bytes) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        b"12:34:56 ready",
        b"half_open",
        b"the bearer of news",
        b"\xff\x00\xfe",
        b"hf_x",
        b"tokens=1234567890123456",
    ],
)
def test_other_text_stays_as_it_is(text: bytes) -> None:
    assert redact(text) == text
    assert not holds_secret(text.decode("latin-1"))


def test_a_secret_split_anywhere_between_two_chunks_is_masked() -> None:
    line = b"a Bearer sEcReT-123456 b " + BOT_TOKEN + b"\nend"
    for cut in range(len(line)):
        shown = bytearray()
        redactor = Redactor(shown.extend)
        redactor.feed(line[:cut])
        redactor.feed(line[cut:])
        redactor.flush()
        assert bytes(shown) == b"a Bearer [redacted] b [redacted]\nend"


def test_long_words_are_passed_on_whole() -> None:
    shown = bytearray()
    redactor = Redactor(shown.extend)
    for _ in range(50):
        redactor.feed(b"x" * 1000)
    redactor.flush()
    assert bytes(shown) == b"x" * 50_000
