"""Small well-formed inputs of every kind, made in memory or taken from tests/data."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import zipfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import safetensors.torch
import torch
import zstandard
from cryptography.hazmat.primitives.asymmetric import ec

from voirs_vocoder.export.artifact.pack import pack_artifact
from voirs_vocoder.export.artifact.signing import sign_artifact
from voirs_vocoder.runtime import AudioBuffer
from voirs_vocoder.runtime.artifact.keys import PrivateKey
from voirs_vocoder.runtime.artifact.signed_files import SignedFiles, encode_signature
from voirs_vocoder.runtime.audio.write import write_audio
from voirs_vocoder.runtime.mel.convention import CONVENTIONS

__all__ = [
    "ARTIFACT",
    "archived",
    "archives",
    "audio",
    "baselines",
    "checkpoints",
    "configurations",
    "data_pickles",
    "graphs",
    "legacy_modules",
    "manifests",
    "mels",
    "module_pickles",
    "packed_files",
    "signatures",
    "sweeps",
    "tensors",
    "tiny_weights",
]

_DATA = Path(__file__).resolve().parents[1] / "data"
ARTIFACT = _DATA / "frozen_artifact_v1" / "artifact"
"""An artifact of a tiny HiFi-GAN."""
_SHIPPED = _DATA.parents[1] / "artifacts" / "checkpoints"
_SMALL_GRAPHS = ("offline.fp32.onnx", "extrapolator.fp32.onnx", "stream.fp32.onnx")


def _state() -> dict[str, torch.Tensor]:
    return {
        "conv_pre.weight_g": torch.ones(2, 1, 1),
        "conv_pre.weight_v": torch.arange(12.0).reshape(2, 2, 3),
        "conv_pre.bias": torch.zeros(2),
        "ups.0.weight": torch.ones(2, 2).half(),
    }


def _saved(value: object, *, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


@cache
def checkpoints(*, legacy: bool) -> list[bytes]:
    """Checkpoints that `torch.save` writes."""
    trained = {"generator": _state(), "steps": np.int64(7), "optim": {"state": {0: {"step": 1}}}}
    return [_saved(value, legacy=legacy) for value in (trained, _state(), {"state_dict": _state()})]


@cache
def data_pickles() -> list[bytes]:
    """The pickles inside of `checkpoints`."""
    return [_member(data, "data.pkl") for data in checkpoints(legacy=False)]


def _member(data: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(next(each for each in archive.namelist() if each.endswith(f"/{name}")))


def archived(pickled: bytes) -> bytes:
    """A checkpoint with that pickle, and a storage of 48 bytes under each of eight keys."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        for key, size in enumerate((8, 48, 8, 8, 8, 48, 8, 8)):
            archive.writestr(f"archive/data/{key}", bytes(size))
    return stream.getvalue()


def _text(value: bytes) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value


@cache
def module_pickles() -> list[bytes]:
    """Pickles of modules as NVIDIA published WaveGlow, written opcode by opcode."""
    storage = b"(" + _text(b"storage") + b"ctorch\nFloatStorage\n" + _text(b"1") + _text(b"cpu") + b"K\x0ctQ"
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + b"K\x00K\x03K\x04\x86K\x04K\x01\x86\x89ccollections\nOrderedDict\n)RtR"
    )
    parameters = _text(b"_parameters") + b"}" + _text(b"weight") + tensor + b"s"
    layer = b"ctorch.nn.modules.conv\nConv1d\n)\x81}(" + parameters + b"ub"
    modules = _text(b"_modules") + b"}" + _text(b"start") + layer + b"s"
    glow = b"cglow\nWN\n)\x81}(" + modules + _text(b"_buffers") + b"Nub"
    return [
        b"\x80\x02}" + _text(b"model") + glow + b"s.",
        b"\x80\x02}(" + _text(b"model") + b"q\x01" + glow + _text(b"iteration") + b"K\x07u.",
    ]


@cache
def legacy_modules() -> list[bytes]:
    """A module in the older format: pickles one after the other, then a storage."""
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    tail = pickle.dumps(["1"], 2) + (12).to_bytes(8, "little") + bytes(48)
    return [head + pickled + tail for pickled in module_pickles()]


@cache
def signatures() -> list[bytes]:
    """Signatures of the manifest of the tiny artifact and of another one."""
    manifest = hashlib.sha256(manifests()[0]).hexdigest()
    signed = ({"manifest.json": manifest, "graphs/a.onnx": "0" * 64}, {"manifest.json": "1" * 64})
    return [encode_signature(SignedFiles(digests), "tiny", _key()) for digests in signed]


@cache
def archives() -> list[bytes]:
    """The archives inside of packed artifacts, unsigned and signed."""
    return [zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read() for data in packed_files()]


@cache
def packed_files() -> list[bytes]:
    """Packed artifacts, unsigned and signed."""
    found = []
    with TemporaryDirectory() as folder:
        root = Path(folder) / "artifact"
        shutil.copytree(ARTIFACT, root)
        for signed in (False, True):
            if signed:
                sign_artifact(root, _key())
            pack_artifact(root, Path(folder) / "packed", force=True)
            found.append((Path(folder) / "packed").read_bytes())
    return found


def _key() -> PrivateKey:
    """A key that is the same in every process."""
    return PrivateKey(ec.derive_private_key(7, ec.SECP256R1()))


@cache
def tensors() -> list[bytes]:
    """Weights as safetensors."""
    return [safetensors.torch.save(_state(), {"format": "pt"}), safetensors.torch.save(_state())]


@cache
def tiny_weights() -> bytes:
    """Weights that fit no configuration but are read."""
    return _saved({"generator": _state()})


@cache
def conventions() -> list[bytes]:
    """Published mel conventions as files of users, under ids of their own: JSON and TOML."""
    found = []
    for convention in CONVENTIONS.values():
        fields = {**msgspec.to_builtins(convention), "id": f"my-{convention.id}"}
        lines = (f"{name} = {json.dumps(value)}" for name, value in fields.items() if value is not None)
        found += [json.dumps(fields).encode(), "\n".join(lines).encode()]
    return found


def configurations() -> list[bytes]:
    """Official configurations of all families."""
    return [
        (_DATA / "hifigan" / "tiny_resblock1" / "config.json").read_bytes(),
        (_DATA / "waveglow" / "config.json").read_bytes(),
        (_DATA / "diffwave" / "tiny" / "params.json").read_bytes(),
        *(
            (_SHIPPED / name / "config.json").read_bytes()
            for name in ("hifigan_v2_kerstin", "waveglow_kerstin")
        ),
    ]


@cache
def baselines() -> list[bytes]:
    """The baseline of a shipped checkpoint."""
    return [(_SHIPPED / "hifigan_v2_kerstin" / "baseline.json").read_bytes()]


@cache
def sweeps() -> list[bytes]:
    """Sweeps of a diffusion model."""
    points: list[dict[str, Any]] = [
        {"sampler": "ddim", "steps": 6, "rtf": 0.5, "pesq_wb": 2.5, "stoi": 0.9, "lsd": 0.7},
        {"sampler": "fast", "steps": None, "rtf": 0.2, "pesq_wb": 2.2, "stoi": None, "lsd": None},
    ]
    facts = {"family": "diffwave", "variant": "base", "precision": "fp32", "backend": "onnxruntime 1.23"}
    return [json.dumps({**facts, "recordings": 3, "speech_s": 9.5, "points": points, "knee": 1}).encode()]


@cache
def manifests() -> list[bytes]:
    """Manifests, one with a TensorRT engine."""
    plain = (ARTIFACT / "manifest.json").read_bytes()
    values = json.loads(plain)
    graph = next(graph for graph in values["graphs"] if graph["role"] == "offline")
    shapes = {"mel": [1, values["mel"]["n_mels"], 16]}
    engine = {
        "role": graph["role"],
        "precision": graph["precision"],
        "backend": "tensorrt-rtx",
        "backend_version": "1.5.0.114",
        "cuda_version": "13.2",
        "operating_system": "linux",
        "machine": "x86_64",
        "compute_capabilities": [90],
        "gpu_name": "NVIDIA H100",
        "driver_version": None,
        "flags": [],
        "profiles": [{"minimum": shapes, "optimum": shapes, "maximum": {"mel": [8, shapes["mel"][1], 256]}}],
        "inputs": graph["inputs"],
        "outputs": graph["outputs"],
        "hop_length": values["hop_length"],
        "graph_sha256": graph["file"]["sha256"],
        "file": {"path": "engines/a.engine", "sha256": "0" * 64, "size_bytes": 9},
    }
    return [plain, msgspec.json.encode({**values, "engines": [engine]})]


@cache
def graphs() -> list[bytes]:
    """Small graphs."""
    return [(ARTIFACT / "graphs" / name).read_bytes() for name in _SMALL_GRAPHS]


@cache
def mels() -> list[bytes]:
    """Mels as numpy.save writes them, [10, frames], [1, 10, frames] and in the order of Fortran."""
    mel = np.random.default_rng(0).standard_normal((10, 12)).astype(np.float32)
    found = []
    for array in (mel, mel[np.newaxis], np.asfortranarray(mel)):
        stream = io.BytesIO()
        np.save(stream, array)
        found.append(stream.getvalue())
    return found


@cache
def audio(suffix: str) -> list[bytes]:
    """Short recordings in a format, mono and where it can be stereo."""
    rate = 48000 if suffix == ".opus" else 16000
    found = []
    with TemporaryDirectory() as folder:
        for channels, samples in ((1, 4000), (2, 1500)):
            times = np.arange(samples * channels, dtype=np.float32).reshape(channels, samples)
            path = Path(folder) / f"a{channels}{suffix}"
            write_audio(path, AudioBuffer(0.3 * np.sin(0.05 * times).astype(np.float32), rate))
            found.append(path.read_bytes())
    return found
