"""The files of other trainers: each kind of file mutated beside the others as they were published."""

from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path
from typing import Any

from tests.fuzz.cases import Target
from tests.fuzz.mutation import Random
from voirs_vocoder.reference_models.bigvgan.config import BigVganConfig
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.reference_models.layouts.table import read_model
from voirs_vocoder.reference_models.vocos.config import VocosConfig

__all__ = ["LAYOUT_TARGETS"]

_ZOO = Path(__file__).resolve().parents[1] / "data" / "zoo"
_CONFIGS: dict[str, Any] = {"hifigan": HifiGanConfig, "bigvgan": BigVganConfig, "vocos": VocosConfig}
_YAML = (
    *(
        b"- ",
        b": ",
        b"&a ",
        b"*a",
        b"<<: *a",
        b"!ref <a>",
        b"!new:os.system ",
        b"!!python/name:os.system",
        b"${a}",
    ),
    *(
        b"[",
        b"{",
        b"null",
        b".inf",
        b"1e-5",
        b"2001-01-01",
        b"0x",
        b"'",
        b'"',
        b"|\n",
        b"%YAML 1.1\n---\n",
        b"\t",
    ),
)
_TAR = (
    b"ustar",
    b"../",
    b"/etc/passwd",
    b"\x000",
    b"0000000",
    b"77777777777",
    b"\x80" * 8,
    b"GNUSparseFile",
    b"L",
    b"x",
)


def _file(layout: str, name: str) -> bytes:
    return (_ZOO / layout / "shared" / name).read_bytes()


def _beside(layout: str, name: str, data: bytes, folder: Path) -> None:
    """A published folder in which one file is another one."""
    for path in (_ZOO / layout / "shared").iterdir():
        if path.suffix != ".npy":
            (folder / path.name).symlink_to(path)
    (folder / name).unlink()
    (folder / name).write_bytes(data)
    _read(folder)


def _alone(name: str, data: bytes, folder: Path) -> None:
    (folder / name).write_bytes(data)
    _read(folder / name)


def _read(path: Path) -> None:
    model = read_model(path, None)
    model.family_config(_CONFIGS[model.family]).mel_convention()


def _packed(random: Random, data: bytes) -> bytes:
    return gzip.compress(data) if random.random() < 0.3 else data


def _target(name: str, layout: str, file: str, tokens: tuple[bytes, ...]) -> Target:
    return Target(name, lambda: [_file(layout, file)], partial(_beside, layout, file), tokens, cost=4)


LAYOUT_TARGETS = (
    _target("layout-yaml", "parallel-wavegan-hifigan", "config.yml", _YAML),
    _target("layout-hyperyaml", "speechbrain-hifigan", "hyperparams.yaml", _YAML),
    _target("layout-sections", "vocos", "config.yaml", _YAML),
    _target(
        "layout-json", "coqui-hifigan", "config.json", (b"//", b"/*", b"*/", b",", b"null", b'"', b"1e999")
    ),
    _target(
        "layout-keys", "transformers-speecht5-hifigan", "config.json", (b"null", b"[", b'"', b"-1", b"1e999")
    ),
    _target(
        "layout-hdf5",
        "parallel-wavegan-hifigan",
        "stats.h5",
        (b"\x89HDF\r\n\x1a\n", b"TREE", b"SNOD", b"HEAP", b"mean", b"scale", b"\xff" * 8, b"OHDR"),
    ),
    Target(
        "layout-tar",
        lambda: [_file("nemo-hifigan", "model.nemo")],
        partial(_alone, "model.nemo"),
        _TAR,
        _packed,
        cost=4,
    ),
)
"""Readers of configurations, statistics and archives."""
