"""Prepared shapes: each once, freed when no run uses it; and the thread that uses GPUs for all others."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voirs_vocoder.runtime.providers.gpu_thread import GpuThread
from voirs_vocoder.runtime.providers.prepared_shapes import PreparedShapes


def shapes(frames):
    return (("mel", (1, 80, frames)),)


class Backend:
    """Counts what was prepared and freed."""

    def __init__(self, most):
        self.freed = []
        self.prepared = []
        self.kept = PreparedShapes(self._prepare, self.freed.append, lambda each: len(each) <= most)

    def _prepare(self, wanted):
        self.prepared.append(wanted)
        return wanted


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=40), most=st.integers(1, 4), threads=st.integers(1, 4)
)  # fmt: skip
def test_whatever_runs_at_once_nothing_is_freed_while_it_is_used(lengths, most, threads):
    backend = Backend(most)

    def run(frames):
        with backend.kept.using(shapes(frames)) as prepared:
            assert prepared == shapes(frames)
            return frames

    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(run, lengths)) == lengths
    assert len(backend.kept) <= most
    assert backend.kept.built == len(backend.prepared) == len(backend.freed) + len(backend.kept)


def test_what_is_dropped_while_a_run_uses_it_is_freed_after_the_run():
    backend = Backend(1)
    with backend.kept.using(shapes(1)):
        with backend.kept.using(shapes(2)):
            assert backend.freed == []
        assert backend.kept.drop_all() == 1
        assert backend.freed == [shapes(2)]
    assert backend.freed == [shapes(2), shapes(1)]


def test_a_shape_that_cannot_be_prepared_is_tried_again_by_the_next_run():
    failures = iter([True])

    def prepare(wanted):
        if next(failures, False):
            raise ValueError("not now")
        return wanted

    kept = PreparedShapes(prepare, lambda _: None, lambda _: True)
    with pytest.raises(ValueError, match="not now"), kept.using(shapes(1)):
        pass
    with kept.using(shapes(1)) as prepared:
        assert prepared == shapes(1)
    assert kept.built == 1


def test_one_thread_calls_the_functions_of_all_and_raises_their_errors_where_they_come_from():
    thread = GpuThread()
    used = []
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: thread.call(lambda: used.append(threading.get_ident())), range(20)))
    assert len(used) == 20
    assert len(set(used)) == 1

    def fail():
        raise ValueError("of the caller")

    with pytest.raises(ValueError, match="of the caller"):
        thread.call(fail)
    inner = []
    thread.call(lambda: thread.call(lambda: inner.append(threading.get_ident())))
    assert inner == used[:1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_gets_a_thread_of_its_own():
    thread = GpuThread()
    thread.call(lambda: None)
    child = os.fork()
    if child == 0:
        called = []
        thread.call(lambda: called.append(True))
        os._exit(0 if called else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
