"""Kill, end and freeze services at random under work, and count what that breaks.

Once with SQLite, once with two backends on a PostgreSQL of its own. The long form of the test of
the same name: `--seed` chooses another order, `--rounds` how long to go on.
"""

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from bench.report import Figures, finish, machine, parser
from tests.backend.chaos import chaos
from tests.backend.storage.databases import postgres, why_no_postgres

_COUNTED = ("lost", "ended otherwise", "without its image", "drawn twice", "left behind")


async def _measure(rounds: int, seed: int, *, replicated: bool) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(postgres()) if replicated else ""
            replicas = 2 if replicated else 1
            run = await stack.enter_async_context(chaos(Path(folder), seed, database, replicas))
            await run.run(rounds)
            await run.settle()
            broken = await run.broken()
            counted = {what: len(broken.get(what, ())) for what in _COUNTED}
            done = {"rounds": rounds, "seed": seed, "accepted": len(run.accepted)}
            return done | counted | {"cancelled": len(run.cancelled), "harm": dict(run.harm)}


def main() -> int:
    options = parser("chaos", __doc__)
    options.add_argument("--rounds", type=int, default=150, help="rounds with each database")
    options.add_argument("--seed", type=int, default=1)
    arguments = options.parse_args()
    figures: Figures = {"machine": machine()}
    for name, replicated in (("sqlite", False), ("postgresql", True)):
        if replicated and why_no_postgres():
            print(f"PostgreSQL is left out: {why_no_postgres()}")
        else:
            measured = _measure(arguments.rounds, arguments.seed, replicated=replicated)
            figures[name] = asyncio.run(measured)
    return finish("chaos", figures, arguments.output)


if __name__ == "__main__":
    sys.exit(main())
