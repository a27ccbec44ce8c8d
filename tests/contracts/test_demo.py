"""What the demo promises to show: how long is left, and a plan for every shipped checkpoint."""

from __future__ import annotations

import re

import pytest

from artifacts import demo_plan
from artifacts.demo_plan import FULL_SECONDS, QUICK_SECONDS, Clock
from artifacts.shipped import SHIPPED

SECONDS = {"a": {"export": 10.0, "validate": 20.0}, "b": {"export": 30.0}, "c": {"export": 40.0}}


@pytest.fixture
def now(monkeypatch):
    """The clock of the demo, which only moves by hand."""
    time = [0.0]
    monkeypatch.setattr(demo_plan.time, "monotonic", lambda: time[0])
    return time


def test_every_shipped_checkpoint_has_a_plan():
    families = {shipped.family for shipped in SHIPPED}
    assert families == QUICK_SECONDS.keys() == FULL_SECONDS.keys()


def test_the_time_left_is_that_of_the_busiest_process(now):
    clock = Clock(SECONDS, workers=2)
    assert clock.left_s() == 70.0  # a then c, and b beside them
    clock.begin("a", "export")
    clock.begin("b", "export")
    now[0] = 5.0
    assert clock.left_s() == 65.0
    assert Clock(SECONDS, workers=1).left_s() == 100.0


def test_a_machine_that_is_half_as_fast_needs_twice_the_time(now):
    clock = Clock(SECONDS, workers=1)
    clock.begin("b", "export")
    now[0] = 60.0
    clock.finish("b")
    clock.begin("a", "export")
    assert clock.left_s() == 140.0


def test_a_step_that_takes_longer_than_expected_is_never_said_to_be_over(now):
    clock = Clock({"a": {"export": 10.0}}, workers=1)
    clock.begin("a", "export")
    now[0] = 1000.0
    assert clock.left_s() == 1.0


def test_the_message_says_what_is_done_and_how_long_is_left(now):
    clock = Clock(SECONDS, workers=2)
    clock.begin("a", "validate")
    clock.details["a"] = "int8.cpu on cpu"
    message = clock.message()
    assert re.fullmatch(r"about \d+ s left: a validating on real speech \(int8\.cpu on cpu\)", message), (
        message
    )
