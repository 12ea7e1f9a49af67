"""Measure the CPU time of the prompt policy for ordinary, unseen and hostile prompts."""

import random
import statistics
import sys
from collections.abc import Callable
from time import thread_time

from bench.report import Figures, finish, machine, parser
from policy import Policy

_REPEATS = 3
_LENGTH, _HOSTILE_LENGTH = 1_500, 10_000
_ENGLISH = (
    "a quiet harbour at dawn with fishing boats moored along the stone quay and gulls over the "
    "water soft golden light mist above distant hills highly detailed oil painting warm palette "
    "wooden crates ropes lanterns reflections an old lighthouse on the cliff woman in a blue coat"
)
_RUSSIAN = (
    "тихая гавань на рассвете рыбацкие лодки у каменной набережной чайки над водой мягкий золотой "
    "свет туман над далёкими холмами подробная картина маслом тёплые цвета деревянные ящики канаты "
    "фонари отражения старый маяк на утёсе женщина в синем пальто"
)


def _prompts(words: str, random_: random.Random) -> list[str]:
    pool = words.split()
    texts = (" ".join(random_.choices(pool, k=_LENGTH // 3)) for _ in range(200))
    return [text[:_LENGTH] for text in texts]


def _hostile(random_: random.Random) -> dict[str, str]:
    """Return texts designed to be slow: many starts, many readings, many near matches."""
    parts = {
        "one letter": "s",
        "spelled letters": "s e x t a n ",
        "single letters": "s ",
        "leet digits": "1 0 ",
        "symbols": "$@!|",
        "separators": "s.e.",
        "masked letters": "s*",
        "spelled stem": "b-o-o-b-",
        "near matches": "remove clothe dres ",
        "many matches": "in a red dress, take off the hat ",
        "long stem": "sex-u-a-l-i-s-",
        "combining marks": "e\u0301\u0336\u0321",
        "expanding ligatures": "\ufdfa",
        "ages": "17 years ",
    }
    hostile = {name: (part * _HOSTILE_LENGTH)[:_HOSTILE_LENGTH] for name, part in parts.items()}
    alphabet = "abcdefghijklmnopqrstuvwxyzабвгде0134$@. \u200b"
    return hostile | {"random": "".join(random_.choices(alphabet, k=_HOSTILE_LENGTH))}


def _ms(call: Callable[[], object]) -> float:
    start = thread_time()
    call()
    return (thread_time() - start) * 1e3


def _best_ms(policy: Policy, prompt: str, repeats: int) -> float:
    """Return the best of several runs, which excludes what other programs add."""
    return min(_ms(lambda: policy.check(prompt, photo=True)) for _ in range(repeats))


def _figures(policy: Policy, prompts: list[str], repeats: int = _REPEATS) -> dict[str, float]:
    times = [_best_ms(policy, prompt, repeats) for prompt in prompts]
    p95 = statistics.quantiles(times, n=20, method="inclusive")[18]
    return {"p50_ms": statistics.median(times), "p95_ms": p95, "max_ms": max(times)}


def measure() -> Figures:
    """Measure the milliseconds for each kind of prompt."""
    random_ = random.Random(7)
    figures: Figures = {"machine": machine(), "load_ms": _ms(Policy.load)}
    policy = Policy.load()
    ordinary = {"English": _prompts(_ENGLISH, random_), "Russian": _prompts(_RUSSIAN, random_)}
    letters = random_.choices("eeetaoinshrdlucmbpgwyfkv     ", k=_LENGTH * 200)
    unseen = ["".join(letters[i::200]) for i in range(200)]
    return {
        **figures,
        "ordinary": {name: _figures(policy, prompts) for name, prompts in ordinary.items()},
        "unseen_words": _figures(policy, unseen, repeats=1),
        "hostile_of_10000_characters": {
            name: _figures(policy, [text] * 5) for name, text in _hostile(random_).items()
        },
    }


def main() -> int:
    options = parser("policy", __doc__).parse_args()
    return finish("policy", measure(), options.output)


if __name__ == "__main__":
    sys.exit(main())
