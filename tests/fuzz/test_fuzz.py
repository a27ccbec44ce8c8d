"""A fixed number of mutated inputs for every reader; `make fuzz` runs more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz.cases import SUCCEEDED, Target, case_input
from tests.fuzz.runner import run_cases
from tests.fuzz.targets import TARGETS

CASES = 2_000
BATCH = 60


def per_target() -> dict[str, int]:
    """Cases of each target, the cheap ones getting more, 2,000 in all."""
    shares = {name: 1 / target.cost for name, target in TARGETS.items()}
    return {name: int(CASES * share / sum(shares.values())) + 1 for name, share in shares.items()}


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_is_read(name: str) -> None:
    target = TARGETS[name]
    report = run_cases([target], lambda target: [range(-len(target.seeds()), 0)], workers=1)
    assert not report.failures
    assert report.counts[name][SUCCEEDED] == len(target.seeds()), "a seed that is refused teaches nothing"


@pytest.mark.slow
def test_mutated_inputs_succeed_or_are_refused_in_one_line() -> None:
    wanted = per_target()

    def batches(target: Target) -> Iterator[range]:
        return (
            range(start, min(start + BATCH, wanted[target.name]))
            for start in range(0, wanted[target.name], BATCH)
        )

    report = run_cases(list(TARGETS.values()), batches)
    assert report.cases >= CASES
    assert not report.failures, "\n".join(map(str, report.failures))


def test_a_case_is_the_same_whenever_it_is_made() -> None:
    for target in TARGETS.values():
        assert case_input(target, target.seeds(), 5) == case_input(target, target.seeds(), 5), target.name
