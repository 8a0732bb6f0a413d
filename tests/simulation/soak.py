"""Many interleavings at once: `python -m tests.simulation.soak 100000` runs that many seeds on every core.

`python -m tests.simulation.soak --seed 1524` runs one of them again and tells its story.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from multiprocessing import Pool
from typing import Any

from tests.simulation.world import World, run

_CHUNK = 500


def _chunk(first: int) -> list[str]:
    return [problem for seed in range(first, first + _CHUNK) for problem in run(seed)]


def soak(runs: int, first: int) -> int:
    """How many seeds went wrong, each printed."""
    began, done = time.monotonic(), 0
    wrong: list[str] = []
    with Pool(os.cpu_count()) as pool:
        for problems in pool.imap_unordered(_chunk, range(first, first + runs, _CHUNK)):
            wrong += problems
            done += _CHUNK
            if problems or done % 10_000 == 0:
                print(f"{done:,} interleavings, {time.monotonic() - began:.0f} s", *problems, sep="\n", flush=True)
    seeds = {problem.split(":")[0] for problem in wrong}
    print(f"{done:,} interleavings in {time.monotonic() - began:.0f} s: {len(seeds)} went wrong")
    return len(seeds)


class Told(World):
    """A run that tells what happens."""

    def announce(
        self, key: str, kind: Mapping[str, str], version: Any, extra: Mapping[str, Any] | None = None
    ) -> None:
        what = " ".join(kind.values())
        print(f"{version.version_id} {key}: {what} {version.body or b''!r} {dict(version.metadata)}")
        super().announce(key, kind, version, extra)

    def enqueue(self, queue: str, body: str) -> None:
        message = json.loads(body)
        short = {name: value for name, value in message.items() if name not in ("verdict", "image", "annotations")}
        print(f"    to {queue}: {short}")
        super().enqueue(queue, body)

    def process(self, queue: str, batch: Any) -> set[str]:
        names = [name for name, _ in batch]
        print(f"  begin {queue} {names}")
        try:
            again = super().process(queue, batch)
        except BaseException as error:
            print(f"  {type(error).__name__} {queue} {names}")
            raise
        print(f"  end   {queue} {names}" + (f", again {sorted(again)}" if again else ""))
        return again


def tell(seed: int) -> int:
    world = Told(seed)
    world.drain()
    problems = [] if world.needs_sweep else world.violations()
    if not problems:
        print("drained; now the sweeps")
        problems = world.settle() or world.violations()
    print(*(problems or ["nothing went wrong"]), sep="\n")
    return len(problems)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=int, nargs="?", default=100_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="tell this run")
    given = parser.parse_args()
    sys.exit(bool(tell(given.seed) if given.seed is not None else soak(given.runs, given.first)))
