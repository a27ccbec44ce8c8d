"""Every reader of something that a stranger may have written."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

# Imported before the children are forked, so that none of them has to.
import onnxruntime  # noqa: F401
import zstandard
from click.testing import CliRunner

from tests.fuzz import seeds
from tests.fuzz.cases import Target
from tests.fuzz.layouts import LAYOUT_TARGETS
from tests.fuzz.mutation import Random
from voirs_vocoder.calibration.dataset import calibration_set_from_folder
from voirs_vocoder.export.artifact.pack import unpack_artifact
from voirs_vocoder.export.bench.baseline import changes, changes_table, decode_baseline
from voirs_vocoder.export.cli import main
from voirs_vocoder.export.cli.input import pcm_blocks
from voirs_vocoder.export.tuning.sweep import sweep_table
from voirs_vocoder.export.validation.compare.thresholds import parsed_threshold
from voirs_vocoder.export.validation.speech import load_speech
from voirs_vocoder.reference_models.checkpoints.reading import fitted_model, read_checkpoint
from voirs_vocoder.reference_models.diffusion.diffwave import DiffWave
from voirs_vocoder.reference_models.diffusion.diffwave_config import DiffWaveConfig
from voirs_vocoder.reference_models.diffusion.unet_config import UNetConfig
from voirs_vocoder.reference_models.errors import ModelConfigError
from voirs_vocoder.reference_models.hifigan.config import HifiGanConfig
from voirs_vocoder.reference_models.hifigan.model import HifiGan
from voirs_vocoder.reference_models.layouts.config_files import config_mapping
from voirs_vocoder.reference_models.waveglow.config import WaveGlowConfig
from voirs_vocoder.reference_models.waveglow.model import WaveGlow
from voirs_vocoder.runtime import Artifact, AudioBuffer, SessionConfig, Vocoder
from voirs_vocoder.runtime.artifact.graph_rules import check_graph
from voirs_vocoder.runtime.artifact.manifest import Manifest, decode_manifest
from voirs_vocoder.runtime.artifact.signed_files import stated_files
from voirs_vocoder.runtime.artifact.split_graph import split_graph
from voirs_vocoder.runtime.artifact.sweep import SWEEP_PATH, read_sweep
from voirs_vocoder.runtime.audio import read_audio
from voirs_vocoder.runtime.effects.chain_toml import chain_from_toml, toml_from_chain
from voirs_vocoder.runtime.effects.presets import PRESETS
from voirs_vocoder.runtime.errors import VoirsVocoderError
from voirs_vocoder.runtime.mel import load_mel, mel_spectrogram
from voirs_vocoder.runtime.mel.convention_file import load_convention
from voirs_vocoder.runtime.providers.tensorrt.profile import largest_batch, largest_frames

__all__ = ["TARGETS"]

_CONFIGS: dict[str, Any] = {
    "upsample_rates": (HifiGanConfig, HifiGan),
    "waveglow_config": (WaveGlowConfig, WaveGlow),
    "group_channels": (UNetConfig, None),
    "residual_layers": (DiffWaveConfig, DiffWave),
}
_JSON = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b":",
    b",",
    b"\\u0000",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"[" * 70,
    b'{"a":' * 70,
)
_PICKLE = (
    *(
        b"\x80\x02",
        b"}",
        b"]",
        b")",
        b"(",
        b"t",
        b"R",
        b"b",
        b"u",
        b"s",
        b"Q",
        b"\x81",
        b"\x85",
        b"\x86",
        b"\x87",
        b".",
    ),
    *(
        b"2",
        b"0",
        b"1",
        b"h\x00",
        b"h\x01",
        b"q\x00",
        b"r\xff\xff\xff\x7f",
        b"j\x00\x00\x00\x00",
        b"\x94",
        b"\x93",
        b"e",
        b"a",
    ),
    *(
        b"cposix\nsystem\n",
        b"cbuiltins\neval\n",
        b"ctorch\nFloatStorage\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
    ),
    *(
        b"ccollections\nOrderedDict\n",
        b"cnumpy\ndtype\n",
        b"cglow\nWN\n",
        b"X\x07\x00\x00\x00storage",
        b"\x8a\x08" + b"\xff" * 8,
    ),
)
_WAV = (
    b"RIFF",
    b"RF64",
    b"WAVE",
    b"fmt ",
    b"data",
    b"LIST",
    b"fact",
    b"ds64",
    b"\xff\xff\xff\xff",
    b"\xfe\xff",
)
_AUDIO = {
    ".wav": _WAV,
    ".flac": (b"fLaC", b"\xff\xf8", b"\xff\xf9", b"\x84\x00\x00\x00", b"ID3\x04\x00"),
    ".ogg": (b"OggS", b"\x01vorbis", b"\x03vorbis", b"\x05vorbis", b"OggS\x00\x04"),
    ".opus": (b"OggS", b"OpusHead", b"OpusTags", b"OggS\x00\x04"),
    ".mp3": (b"ID3", b"Xing", b"Info", b"LAME", b"\xff\xfb\x90", b"\xff\xf3", b"TAG", b"APETAGEX"),
    ".m4a": (b"ftyp", b"moov", b"mdat", b"stsz", b"stco", b"stts", b"mp4a", b"esds", b"mdhd", b"elst"),
}


def _json_text(data: bytes, _: Path) -> None:
    decode_manifest(data, "manifest.json")


def _split(data: bytes, _: Path) -> None:
    split_graph(io.BytesIO(data), len(data))


def _checkpoint(data: bytes, folder: Path) -> None:
    path = folder / "g_00000001"
    path.write_bytes(data)
    read_checkpoint(path, weights_keys=("generator",))


def _module(data: bytes, folder: Path) -> None:
    path = folder / "waveglow.pt"
    path.write_bytes(data)
    read_checkpoint(path, weights_keys=("model",), module_classes=frozenset({"glow.WN", "glow.WaveGlow"}))


def _in_archive(_: Random, data: bytes) -> bytes:
    return seeds.archived(data)


def _with_header_length(random: Random, data: bytes) -> bytes:
    """Safetensors whose header ends where it seems to, half of the time."""
    end = data.rfind(b"}}") + 2
    while data[end : end + 1] == b" ":
        end += 1
    if random.random() < 0.5 and end > 9:
        return struct.pack("<Q", end - 8) + data[8:]
    return data


def _configuration(data: bytes, folder: Path) -> None:
    """A configuration, and the comparison of its model with weights."""
    weights = folder / "g_00000001"
    weights.write_bytes(seeds.tiny_weights())
    checkpoint = read_checkpoint(weights, weights_keys=("generator",))
    errors = []
    for config_type, model in _CONFIGS.values():
        try:
            config = config_type.from_mapping(config_mapping(data, "config.json"))
            config.mel_convention()
        except ModelConfigError as error:
            errors.append(error)
            continue
        if model is not None:
            with np.errstate(all="raise"):
                _compare(partial(model, config), checkpoint)
    if len(errors) == len(_CONFIGS):
        raise errors[0]


def _compare(make: Callable[[], Any], checkpoint: Any) -> None:
    try:
        fitted_model(make, checkpoint)
    except Exception as error:
        if "does not fit the configuration" not in str(error):
            raise


def _convention(data: bytes, folder: Path) -> None:
    """A mel convention as JSON or TOML, and the mel of a tone in it."""
    path = folder / ("mel.json" if data.lstrip()[:1] in (b"{", b"[") else "mel.toml")
    path.write_bytes(data)
    convention = load_convention(path)
    if convention.n_fft > 1 << 12 or convention.n_mels > 256 or convention.hop_length < 16:
        return
    tone = 0.5 * np.sin(np.arange(10_000, dtype=np.float32) / 9)
    with np.errstate(all="ignore"):
        mel_spectrogram(tone.astype(np.float32), convention.sample_rate, convention)


def _chain(data: bytes, _: Path) -> None:
    chain = chain_from_toml(data, "chain.toml")
    chain_from_toml(toml_from_chain(chain), "again.toml")
    tone = 0.5 * np.sin(np.arange(800, dtype=np.float32) / 9)[np.newaxis]
    chain.apply(AudioBuffer(tone.astype(np.float32), 16000), tail=False)


def _mel(data: bytes, folder: Path) -> None:
    path = folder / "mel.npy"
    path.write_bytes(data)
    load_mel(path, decode_manifest(seeds.manifests()[0], "manifest.json").mel)


def _recording(suffix: str, data: bytes, folder: Path) -> None:
    path = folder / f"recording{suffix}"
    path.write_bytes(data)
    read_audio(path)


def _pcm(data: bytes, _: Path) -> None:
    for _block in pcm_blocks(io.BytesIO(data), 160):
        pass


def _sweep(data: bytes, folder: Path) -> None:
    entry = SimpleNamespace(path=SWEEP_PATH)
    stub = SimpleNamespace(root=folder, manifest=SimpleNamespace(files=[entry]), read=lambda _: data)
    sweep = read_sweep(cast(Artifact, stub))
    if sweep is not None:
        sweep_table(sweep)
        _ = sweep.points[sweep.knee].sampler


def _baseline(data: bytes, _: Path) -> None:
    then, now = decode_baseline(data, "baseline.json"), decode_baseline(seeds.baselines()[0], "now.json")
    changes_table(changes(then, now))
    changes_table(changes(now, then))


def _threshold(data: bytes, _: Path) -> None:
    parsed_threshold(data.decode(errors="surrogateescape"), "min")


def _engines(data: bytes, folder: Path) -> None:
    for entry in decode_manifest(data, "manifest.json").engines:
        largest_batch(entry)
        largest_frames(entry)
    (folder / "manifest.json").write_bytes(data)
    for arguments in (["inspect", str(folder)], ["inspect", str(folder), "--verify", "--json"]):
        result = CliRunner().invoke(main, arguments)
        lines = result.stderr.splitlines()
        if result.exit_code not in (0, 2) or len(lines) > 1 or "internal" in result.stderr:
            raise AssertionError(f"exit {result.exit_code}: {result.stderr[:300]!r}")


def _folder(data: bytes, folder: Path) -> None:
    manifest = decode_manifest(seeds.manifests()[0], "manifest.json")
    (folder / "good.wav").write_bytes(seeds.audio(".wav")[0])
    suffix = (".wav", ".flac", ".npy", ".mp3")[zlib.crc32(data) % 4]
    (folder / f"other{suffix}").write_bytes(data)
    for read in (_speech, _calibration):
        try:
            read(folder, manifest)
        except VoirsVocoderError as error:
            refused = error
        else:
            return
    raise refused


def _speech(folder: Path, manifest: Manifest) -> None:
    load_speech(folder, manifest)


def _calibration(folder: Path, manifest: Manifest) -> None:
    calibration_set_from_folder(folder, manifest.mel, segment_frames=20)


def _copied(folder: Path) -> Path:
    root = folder / "artifact"
    shutil.copytree(seeds.ARTIFACT, root)
    return root


def _artifact(data: bytes, folder: Path) -> None:
    """A manifest for graphs that are as they were."""
    root = _copied(folder)
    (root / "manifest.json").write_bytes(data)
    _used(root)


def _artifact_graph(data: bytes, folder: Path) -> None:
    """A graph whose hash its manifest states."""
    root = _copied(folder)
    values = json.loads((root / "manifest.json").read_bytes())
    name = "graphs/offline.fp32.onnx"
    entry = next(graph["file"] for graph in values["graphs"] if graph["file"]["path"] == name)
    entry["sha256"], entry["size_bytes"] = hashlib.sha256(data).hexdigest(), len(data)
    (root / name).write_bytes(data)
    (root / "manifest.json").write_bytes(json.dumps(values).encode())
    _used(root)


def _used(root: Path) -> None:
    with Vocoder.load(root, session=SessionConfig(threads=1, spinning=False)) as vocoder:
        convention = vocoder.metadata.convention
        mel = np.full((convention.n_mels, 9), -1.0, np.float32)
        audio = vocoder.vocode(mel).samples
        if audio.shape != (1, 9 * convention.hop_length):
            raise AssertionError(f"audio has the shape {audio.shape}")
        for _piece in vocoder.vocode_stream([mel[:, :5], mel[:, 5:]]):
            pass


def _signature(data: bytes, _: Path) -> None:
    """A signature of unknown origin, as `inspect` and `unpack` read it."""
    stated_files(data, "model.sig")


def _packed(data: bytes, folder: Path) -> None:
    path = folder / "packed.tar.zst"
    path.write_bytes(data)
    try:
        artifact = unpack_artifact(path, folder / "artifact")
    except VoirsVocoderError:
        if [each.name for each in folder.iterdir()] != ["packed.tar.zst"]:
            raise AssertionError("a refused file has left something") from None
        raise
    if [error for _, error in artifact.verify() if error is not None]:
        raise AssertionError("a file was unpacked that is not as the manifest records it")


def _compressed(_: Random, data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def _raw_pcm() -> list[bytes]:
    return [data[-1000:] for data in seeds.audio(".wav")]


def _offline_graph() -> list[bytes]:
    return seeds.graphs()[:1]


_ALL = (
    Target("manifest", seeds.manifests, _json_text, _JSON),
    Target(
        "graph-rules",
        seeds.graphs,
        lambda data, _: check_graph(data),
        (b"Loop", b"If", b"Conv", b"location", b"com.x"),
    ),
    Target("split-graph", seeds.graphs, _split, (b"Loop", b"Scan", b"external", b"location", b"\xff" * 9)),
    Target(
        "checkpoint-zip",
        partial(seeds.checkpoints, legacy=False),
        _checkpoint,
        (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", *_PICKLE),
    ),
    Target("checkpoint-pickle", seeds.data_pickles, _checkpoint, _PICKLE, _in_archive),
    Target("checkpoint-legacy", partial(seeds.checkpoints, legacy=True), _checkpoint, _PICKLE),
    Target(
        "checkpoint-safetensors",
        seeds.tensors,
        _checkpoint,
        (b"data_offsets", b"F32", b"BF16", b"I64", b"F8_E5M2", *_JSON),
        _with_header_length,
    ),
    Target("module-zip", seeds.module_pickles, _module, _PICKLE, _in_archive),
    Target("module-legacy", seeds.legacy_modules, _module, _PICKLE),
    Target("configuration", seeds.configurations, _configuration, _JSON, cost=4),
    Target(
        "mel-convention",
        seeds.conventions,
        _convention,
        (b"n_fft", b"limits", b"scale", b"id", b"null", b"1e999", b"-1", b"0", b"1e-320", b"[0, 1]", *_JSON),
    ),
    Target(
        "effects",
        lambda: [toml_from_chain(chain) for chain in PRESETS.values()],
        _chain,
        (
            b"[[effect]]",
            b"[",
            b"a.a.a.a.a.a.a.a",
            b'"""',
            b"'''",
            b"wet = 0",
            b"bypass = true",
            b"automation = [",
            b"inf",
            b"nan",
            b"0x",
        ),
        cost=2,
    ),
    Target(
        "mel",
        seeds.mels,
        _mel,
        (
            b"\x93NUMPY",
            b"\x02\x00",
            b"\x03\x00",
            b"'descr'",
            b"'<f8'",
            b"'|O'",
            b"True",
            b"(1, 2, 3, 4)",
            b"(" * 90,
            b"#",
            b"\n",
        ),
    ),
    *(
        Target(f"audio-{suffix[1:]}", partial(seeds.audio, suffix), partial(_recording, suffix), tokens)
        for suffix, tokens in _AUDIO.items()
    ),
    Target("pcm", _raw_pcm, _pcm, (b"RIFF", b"fLaC", b"OggS", b"ID3", b"\x93NUMPY")),
    Target("sweep", seeds.sweeps, _sweep, _JSON),
    Target("baseline", seeds.baselines, _baseline, (b"pesq_wb", b"rms_db", *_JSON)),
    Target(
        "threshold",
        lambda: [b"snr_db=30", b"pesq_lost=0.1"],
        _threshold,
        (b"=", b"nan", b"1e999", b"_", b"\x00"),
    ),
    Target(
        "signature", seeds.signatures, _signature, (b"mediaType", b"payload", b"signatures", b"==", *_JSON)
    ),
    Target(
        "packed-frame", seeds.packed_files, _packed, (b"\x28\xb5\x2f\xfd", b"\xff" * 3, b"\x00" * 3), cost=4
    ),
    Target(
        "packed-archive",
        seeds.archives,
        _packed,
        (b"ustar", b"manifest.json", b"model.sig", b"../", b"/etc/passwd", b"77777777777", b"\x00" * 512),
        _compressed,
        cost=4,
    ),
    Target("engine-metadata", lambda: seeds.manifests()[1:], _engines, _JSON, cost=6),
    Target("folder", partial(seeds.audio, ".wav"), _folder, _WAV, cost=2),
    Target("artifact-manifest", lambda: seeds.manifests()[:1], _artifact, _JSON, cost=12),
    Target(
        "artifact-graph", _offline_graph, _artifact_graph, (b"Loop", b"Conv", b"Tanh", b"\xff" * 9), cost=12
    ),
    *LAYOUT_TARGETS,
)
TARGETS = {target.name: target for target in _ALL}
"""Targets by name."""
