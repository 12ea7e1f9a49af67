"""What the prompt policy takes for ordinary, unseen and hostile prompts, in CPU time."""

import random
import statistics
import sys
from collections.abc import Callable
from time import thread_time

from bench.report import Figures, finish, machine, parser
from policy import Policy

REPEATS = 3
LENGTH, HOSTILE_LENGTH = 1_500, 10_000
ENGLISH = (
    "a quiet harbour at dawn with fishing boats moored along the stone quay and gulls over the "
    "water soft golden light mist above distant hills highly detailed oil painting warm palette "
    "wooden crates ropes lanterns reflections an old lighthouse on the cliff woman in a blue coat"
)
RUSSIAN = (
    "тихая гавань на рассвете рыбацкие лодки у каменной набережной чайки над водой мягкий золотой "
    "свет туман над далёкими холмами подробная картина маслом тёплые цвета деревянные ящики канаты "
    "фонари отражения старый маяк на утёсе женщина в синем пальто"
)


def _prompts(words: str, random_: random.Random) -> list[str]:
    pool = words.split()
    texts = (" ".join(random_.choices(pool, k=LENGTH // 3)) for _ in range(200))
    return [text[:LENGTH] for text in texts]


def _hostile(random_: random.Random) -> dict[str, str]:
    """Return texts made to be slow: many starts, many readings, many near matches."""
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
    hostile = {name: (part * HOSTILE_LENGTH)[:HOSTILE_LENGTH] for name, part in parts.items()}
    alphabet = "abcdefghijklmnopqrstuvwxyzабвгде0134$@. \u200b"
    return hostile | {"random": "".join(random_.choices(alphabet, k=HOSTILE_LENGTH))}


def _ms(call: Callable[[], object]) -> float:
    start = thread_time()
    call()
    return (thread_time() - start) * 1e3


def _best_ms(policy: Policy, prompt: str, repeats: int) -> float:
    """Return the best of some runs: what other programs on the machine add is not measured."""
    return min(_ms(lambda: policy.check(prompt, photo=True)) for _ in range(repeats))


def _figures(policy: Policy, prompts: list[str], repeats: int = REPEATS) -> dict[str, float]:
    times = [_best_ms(policy, prompt, repeats) for prompt in prompts]
    p95 = statistics.quantiles(times, n=20, method="inclusive")[18]
    return {"p50_ms": statistics.median(times), "p95_ms": p95, "max_ms": max(times)}


def measure() -> Figures:
    """Milliseconds for each kind of prompt."""
    random_ = random.Random(7)
    described = {"machine": machine(), "load_ms": _ms(Policy.load)}
    policy = Policy.load()
    ordinary = {"English": _prompts(ENGLISH, random_), "Russian": _prompts(RUSSIAN, random_)}
    letters = random_.choices("eeetaoinshrdlucmbpgwyfkv     ", k=LENGTH * 200)
    unseen = ["".join(letters[i::200]) for i in range(200)]
    return {
        **described,
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
