"""The results as tables of artifacts/measured.json, which the page is made from, and the picture beside it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from artifacts.shipped import ARTIFACTS
from tests.benchmark.measured import (
    JSON_PATH,
    PAGE_PATH,
    MeasuredFigures,
    RecordedTable,
    measured_page,
)
from tests.benchmark.peers.contract import Arithmetic
from tests.benchmark.peers.goals import Results, goal_rows
from tests.benchmark.peers.report import HOW, case_table, peak_text, peer_lines, reasons
from voirs_vocoder.runtime.files import indented_json, write_whole
from voirs_vocoder.runtime.machine import this_machine

__all__ = ["PICTURE_PATH", "peer_tables", "publish", "with_peers"]

PICTURE_PATH = ARTIFACTS / "peers.png"
"""The picture that the page shows."""

_ID = "peers"
_COMMAND = "make bench-peers"


def peer_tables(
    results: Results,
    titles: Mapping[str, str],
    *,
    peaks: Mapping[Arithmetic, float],
    has_amx: bool,
    threads: int,
    versions: Mapping[str, str],
) -> tuple[RecordedTable, ...]:
    """Tables of the page: the goals first, then one per case.

    Args:
        results: Results by their key.
        titles: Key of a case to its title, in order.
        peaks: Arithmetic to the machine's peak in billions of operations per second.
        has_amx: Whether the machine's CPU has AMX.
        threads: Number of threads of every peer.
        versions: Package to version.
    """
    date = max((result.date for result in results.values()), default="")
    machine = this_machine()
    where = (
        f"{machine.processor}, {machine.cores} cores, {threads} threads, "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + f"; peak of the machine: {peak_text(peaks)}. "
    )
    goals = goal_rows(results, has_amx=has_amx, peaks=peaks)
    tables = [
        RecordedTable(
            id=f"{_ID}-goals",
            title="Against peers: the goals",
            text=f"{where}{HOW}\n\nPeers: {'; '.join(peer_lines())}.\n\n![Speed against quality]({PICTURE_PATH.name})",
            date=date,
            command=_COMMAND,
            columns=tuple(goals[0]),
            rows=tuple(tuple(row) for row in goals[1:]),
        )
    ]
    for case, title in titles.items():
        rows = case_table(results, case, peaks)
        if len(rows) == 1:
            continue
        notes = reasons(results, case)
        tables.append(
            RecordedTable(
                id=f"{_ID}-{case}",
                title=f"Against peers: {title}",
                text=f"{'; '.join(notes)}." if notes else "",
                date=date,
                command=_COMMAND,
                columns=tuple(rows[0]),
                rows=tuple(tuple(row) for row in rows[1:]),
            )
        )
    return tuple(tables)


def with_peers(measured: MeasuredFigures, tables: tuple[RecordedTable, ...]) -> MeasuredFigures:
    """Take over tables in place of the earlier ones against peers, or after all others.

    Args:
        measured: The figures so far.
        tables: Result of `peer_tables`.
    """
    kept = tuple(table for table in measured.tables if not table.id.startswith(f"{_ID}-"))
    return msgspec.structs.replace(measured, tables=(*kept, *tables))


def publish(tables: tuple[RecordedTable, ...], picture: bytes) -> None:
    """Write the tables into artifacts/measured.json, and the page and the picture from them.

    Args:
        tables: Result of `peer_tables`.
        picture: PNG.
    """
    measured = msgspec.json.decode(JSON_PATH.read_bytes(), type=MeasuredFigures)
    measured = with_peers(measured, tables)
    write_whole(JSON_PATH, indented_json(measured))
    write_whole(PAGE_PATH, measured_page(measured).encode())
    write_whole(PICTURE_PATH, picture)
