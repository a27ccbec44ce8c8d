"""What several test files need: where things lie, the shipped data, and a HiFi-GAN made in a moment."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import settings

_TINY_HIFIGAN_CONFIG: dict[str, object] = {
    "resblock": "1",
    "upsample_rates": [4, 4],
    "upsample_kernel_sizes": [8, 8],
    "upsample_initial_channel": 8,
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilation_sizes": [[1, 2, 3], [1, 3, 5]],
    "num_mels": 10,
    "n_fft": 64,
    "hop_size": 16,
    "win_size": 64,
    "sampling_rate": 8000,
    "fmin": 0,
    "fmax": 4000,
}


# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Each takes seconds to export, and nothing else needs them.
_SLOW_FIXTURES = {"tiny_waveglow", "tiny_diffwave", "tiny_unet"}


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a slow fixture as slow, and limit the examples of properties.

    `VOIRS_TEST_EXAMPLES=10` lets no property try more examples than that, whatever its own settings ask for.
    """
    most = int(os.environ.get("VOIRS_TEST_EXAMPLES", "0"))
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
        named = {value for value in parameters if isinstance(value, str)}
        if _SLOW_FIXTURES & {*getattr(item, "fixturenames", ()), *named}:
            item.add_marker(pytest.mark.slow)
        function = getattr(item, "obj", None)
        # A profile would not do: it only changes what a test leaves open, and a test can be decorated but once.
        chosen = getattr(function, "_hypothesis_internal_use_settings", None)
        if most and chosen is not None and chosen.max_examples > most:
            function._hypothesis_internal_use_settings = settings(chosen, max_examples=most)


@pytest.fixture(scope="session")
def repository_root() -> Path:
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir(repository_root: Path) -> Path:
    """The golden files."""
    return repository_root / "tests" / "data"


@pytest.fixture(scope="session")
def shipped_checkpoint(repository_root: Path) -> Path:
    """The trained HiFi-GAN V2, in official parameter names."""
    return repository_root / "artifacts" / "checkpoints" / "hifigan_v2_kerstin" / "model.safetensors"


@pytest.fixture(scope="session")
def shipped_config(shipped_checkpoint: Path) -> Path:
    return shipped_checkpoint.with_name("config.json")


@pytest.fixture(scope="session")
def sample_recordings(repository_root: Path) -> list[Path]:
    """Recordings that the shipped checkpoint never saw, sorted."""
    return sorted((repository_root / "artifacts" / "samples").glob("*.flac"))


@pytest.fixture(scope="session")
def calibration_recordings(repository_root: Path) -> list[Path]:
    """Recordings for calibration, none of them among `sample_recordings`, sorted."""
    return sorted((repository_root / "artifacts" / "samples" / "calibration").glob("*.flac"))


@pytest.fixture(scope="session")
def calibration_folder(calibration_recordings: list[Path]) -> Path:
    return calibration_recordings[0].parent


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An official checkpoint with seeded random weights, its configuration beside it."""
    import torch

    from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
    from voirs_vocoder.reference_models.hifigan.model import HifiGan

    folder = tmp_path_factory.mktemp("tiny-checkpoint")
    (folder / "config.json").write_text(json.dumps(_TINY_HIFIGAN_CONFIG), encoding="utf-8")
    torch.manual_seed(0)
    model = HifiGan(HifiGanConfig.from_mapping(_TINY_HIFIGAN_CONFIG))
    torch.save({"generator": model.state_dict()}, folder / "g_00000000")
    return folder / "g_00000000"


@pytest.fixture(scope="session")
def tiny_artifact(
    tiny_checkpoint: Path, calibration_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """That checkpoint's artifact in every precision; a test that changes it works on a copy."""
    from voirs_vocoder.export.pipeline import ExportRequest, export_artifact

    root = tmp_path_factory.mktemp("artifacts") / "tiny"
    export_artifact(
        ExportRequest(
            "hifigan",
            tiny_checkpoint,
            None,
            root,
            ("fp32", "fp16", "int8"),
            calibration_folder,
            licence="CC0-1.0",
        )
    )
    return root


@pytest.fixture
def tiny_hifigan_config() -> dict[str, object]:
    """An official HiFi-GAN configuration, as read from JSON, of 2,000 parameters and hop length 16."""
    return json.loads(json.dumps(_TINY_HIFIGAN_CONFIG))


@pytest.fixture
def tiny_hifigan_config_file(tiny_hifigan_config: dict[str, object], tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(tiny_hifigan_config), encoding="utf-8")
    return path


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """A context in which no file can grow beyond a size: the write fails as on a full disk.

    It must end before the test does, since pytest's own output may go to a file.
    """

    @contextmanager
    def limited(free_bytes: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        # Python would not notice that its own cache files were cut off.
        cached, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            sys.dont_write_bytecode = cached

    return limited


def _tree(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, hidden files included; a lock that nobody holds is no half-written file."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Everything in a folder, for a comparison before and after."""
    return _tree


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command that must fail with status 2, one line, and nothing changed on disk; returns the line."""
    from voirs_vocoder.export.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        before = _tree(tmp_path)
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        lines = result.stderr.splitlines()
        errors = [line for line in lines if line.startswith(("error: ", "internal error: "))]
        assert result.exit_code == 2, result.output
        assert errors == lines[-1:], result.stderr
        assert errors[0].startswith("error: ")
        assert "Traceback" not in result.output
        assert _tree(tmp_path) == before
        return errors[0]

    return run


@pytest.fixture(scope="session")
def tiny_waveglow(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official tiny WaveGlow as an artifact in FP32."""
    folder = data_dir / "waveglow"
    return _exported(
        "waveglow", folder / "tiny" / "pickled_module.pt", folder / "config.json", tmp_path_factory
    )


@pytest.fixture(scope="session")
def tiny_diffwave(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official tiny DiffWave as an artifact in FP32."""
    folder = data_dir / "diffwave" / "tiny"
    return _exported("diffwave", folder / "weights.pt", folder / "params.json", tmp_path_factory)


def _exported(family: str, checkpoint: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from voirs_vocoder.export.pipeline import ExportRequest, export_artifact

    root = tmp_path_factory.mktemp("artifacts") / family
    export_artifact(ExportRequest(family, checkpoint, config, root))
    return root
