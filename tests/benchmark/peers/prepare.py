"""`python -m tests.benchmark.peers.prepare`: the files of a case, and those of a peer, made in a process of their own.

What a process needs to make a model would count as memory of the peer that runs it.
"""

from __future__ import annotations

import copy
import json
import logging
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from artifacts.shipped import SAMPLES
from tests.benchmark.peers.cases import PEER_CASES, PeerCase
from tests.benchmark.peers.contract import (
    CaseFacts,
    Feed,
    Network,
    OpenRequest,
    artifact_folder,
    peer_folder,
    read_facts,
    stock_graph,
    write_facts,
)
from tests.benchmark.peers.inputs import FULL, QUICK, Sizes, mode_mels, quality_inputs
from tests.benchmark.peers.synthesis import GraphContender
from tests.benchmark.peers.table import PEERS
from tests.benchmark.peers.torch_peers import torch_networks
from tests.benchmark.peers.user_networks import user_networks
from tests.benchmark.stock_export import export_stock
from voirs_vocoder.export.bench.artifact import bench_mel
from voirs_vocoder.export.graphs.onnx_from_torch import example_inputs
from voirs_vocoder.export.pipeline import ExportRequest, export_artifact
from voirs_vocoder.export.precisions import get_precision, precision_names
from voirs_vocoder.export.validation.speech import load_speech
from voirs_vocoder.reference_models.checkpoints.reading import save_safetensors
from voirs_vocoder.reference_models.family import GraphSpec
from voirs_vocoder.runtime import Artifact, VocodingConfig, mel_spectrogram, read_audio
from voirs_vocoder.runtime.artifact.manifest import Manifest
from voirs_vocoder.runtime.audio import mono, recordings_in, resample
from voirs_vocoder.runtime.diffusion.choice import chosen_plan
from voirs_vocoder.runtime.drivers.registry import driver_roles
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.mel.convention import MelConvention

__all__ = ["main", "prepare_case", "prepare_peer"]

_CALIBRATION_FRAMES = 200
_COUNTED_FRAMES = 16


def prepare_case(case: PeerCase, folder: Path, speech: Path, sizes: Sizes, settings: str) -> CaseFacts:
    """Make what the peers of a case share: weights, our artifact, the stock export, and audio to compare with.

    Args:
        case: The case.
        folder: Folder of the case.
        speech: Folder of recordings that the quality of trained weights is measured on.
        sizes: Length of the runs.
        settings: Text that the facts keep, by which a later run decides whether it can use them.

    Raises:
        InputError: There are no recordings that are long enough.
        ExportError: A graph does not compute what the model computes.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    checkpoint = _checkpoint(case, folder)
    users = user_networks(case.family, checkpoint)
    driver = users.description.driver
    precisions = [name for name in ("fp32", "int8", "bf16") if name in precision_names()]
    calibration = folder / "calibration"
    calibration.mkdir()
    for number, mel in enumerate(_calibration_mels(case, users.description.mel)):
        np.save(calibration / f"mel-{number}.npy", mel)
    artifact = export_artifact(
        ExportRequest(
            family=case.family,
            checkpoint=checkpoint,
            config=None,
            output=artifact_folder(folder),
            precisions=tuple(get_precision(name).name for name in precisions),
            calibration=calibration,
        )
    )
    manifest = artifact.manifest
    roles = driver_roles(driver)
    specs = {spec.role: spec for spec in users.specs if spec.role in roles}
    stock_graph(folder, roles[0]).parent.mkdir()
    for role, spec in specs.items():
        export_stock(spec, manifest.hop_length, stock_graph(folder, role), any_rows=True)
    facts = CaseFacts(
        key=case.key,
        family=case.family,
        driver=driver,
        roles=roles,
        checkpoint=str(checkpoint),
        trained=case.shipped is not None,
        precisions=tuple(dict.fromkeys(graph.precision for graph in manifest.graphs)),
        gflop_per_s=_gflop_per_s(specs, manifest),
        transform=users.transform,
        settings=settings,
    )
    _write_quality(OpenRequest(folder, facts, manifest, torch.get_num_threads()), speech, sizes)
    write_facts(folder, facts)
    return facts


def prepare_peer(name: str, folder: Path, facts: CaseFacts, sizes: Sizes) -> None:
    """Make the files of a peer; those that an earlier run made are kept.

    Args:
        name: Name of the peer.
        folder: Folder of the case.
        facts: Facts of the case.
        sizes: Length of the runs.
    """
    own, make = peer_folder(folder, name), PEERS[name].make
    if make is None or own.is_dir():
        return
    request = OpenRequest(
        folder, facts, Artifact.open(artifact_folder(folder)).manifest, torch.get_num_threads()
    )
    draft = own.with_name(f".{name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    make(request, draft, _feeds(request, sizes))
    draft.rename(own)


def main(arguments: Sequence[str]) -> None:
    """Prepare a case, or one of its peers.

    Args:
        arguments: Key of the case, name of a peer or nothing for the case itself, and a JSON object with `folder`,
            `speech`, `quick` and `settings`.
    """
    key, peer, encoded = arguments
    options = json.loads(encoded)
    sizes = QUICK if options["quick"] else FULL
    folder = Path(options["folder"])
    # The stock exporter's notes address its own developers.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    if not peer:
        prepare_case(PEER_CASES[key], folder, Path(options["speech"]), sizes, options["settings"])
        return
    facts = read_facts(folder)
    if facts is None:
        raise InputError(
            f"{folder}: the case must be prepared before its peers, found nothing; prepare it first"
        )
    prepare_peer(peer, folder, facts, sizes)


def _checkpoint(case: PeerCase, folder: Path) -> Path:
    if case.random_weights is not None:
        checkpoint = folder / "model.safetensors"
        (folder / case.config_name).write_text(json.dumps(case.config), encoding="utf-8")
        save_safetensors(case.random_weights(case.config), checkpoint)
        return checkpoint
    if case.shipped is None or not case.shipped.is_file():
        raise InputError(f"{case.shipped}: not found; run the benchmark in a checkout of the project")
    return case.shipped


def _calibration_mels(case: PeerCase, convention: MelConvention) -> list[NDArray[np.float32]]:
    """Mels of the shipped calibration recordings for trained weights; for random ones a single one of noise."""
    if case.shipped is None:
        return [bench_mel(convention, _CALIBRATION_FRAMES)]
    mels = []
    for path in recordings_in(SAMPLES / "calibration"):
        audio = read_audio(path)
        samples = resample(mono(audio.samples), audio.sample_rate, convention.sample_rate)
        mels.append(mel_spectrogram(samples, convention.sample_rate, convention).values)
    return mels


def _gflop_per_s(specs: Mapping[str, GraphSpec], manifest: Manifest) -> float:
    """Counted by torch on the shapes alone; every sampling step of a diffusion model counts."""
    steps = len(chosen_plan(manifest.diffusion, VocodingConfig()).steps) if manifest.diffusion else 1
    flop = 0
    for role, spec in specs.items():
        sizes = {"batch": 1, "samples": _COUNTED_FRAMES * manifest.hop_length}
        feed = example_inputs(spec, sizes, _COUNTED_FRAMES, seed=0)
        module = copy.deepcopy(spec.module).to("meta")
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(*(torch.from_numpy(values).to("meta") for values in feed.values()))
        flop += counter.get_total_flops() * (steps if role == "step" else 1)
    return flop / 1e9 / (_COUNTED_FRAMES * manifest.hop_length / manifest.sample_rate)


def _write_quality(request: OpenRequest, speech: Path, sizes: Sizes) -> None:
    """Excerpts of one length, the FP32 audio of PyTorch, and the recordings; noise for random weights."""
    manifest, frames = request.manifest, sizes.quality_frames
    if request.facts.trained:
        excerpts = [
            (utterance.mel.values[:, :frames], utterance.samples[: frames * manifest.hop_length])
            for utterance in load_speech(speech, manifest)
            if utterance.mel.values.shape[1] >= frames
            and utterance.samples.size >= frames * manifest.hop_length
        ][: sizes.recordings]
        if not excerpts:
            raise InputError(
                f"{speech}: quality is measured on recordings of at least {frames} mel frames, found none; give others"
            )
    else:
        silent = np.zeros(frames * manifest.hop_length, np.float32)
        excerpts = [(bench_mel(manifest.mel, frames), silent)]
    reference = GraphContender(manifest, torch_networks(request), request.facts.transform)
    audio = [reference.vocode(np.ascontiguousarray(mel[np.newaxis]))[0] for mel, _ in excerpts]
    np.savez(
        request.folder / "quality.npz",
        mels=np.stack([mel for mel, _ in excerpts]),
        recordings=np.stack([samples for _, samples in excerpts]),
        reference=np.stack(audio),
    )


def _feeds(request: OpenRequest, sizes: Sizes) -> dict[str, list[Feed]]:
    """What each graph is given on the calibration mels, by role; under `spoken` every mel that a peer will vocode."""
    feeds: dict[str, list[Feed]] = {role: [] for role in request.facts.roles}

    def recorded(role: str, network: Network) -> Network:
        def run(feed: Feed) -> Mapping[str, NDArray[np.float32]]:
            feeds[role].append({name: values.copy() for name, values in feed.items()})
            return network(feed)

        return run

    networks = {role: recorded(role, network) for role, network in torch_networks(request).items()}
    contender = GraphContender(request.manifest, networks, request.facts.transform)
    for path in sorted((request.folder / "calibration").glob("*.npy")):
        mel = np.load(path)[np.newaxis, :, :_CALIBRATION_FRAMES]
        # All of one length, which a graph that is compiled for one shape needs.
        if mel.shape[2] == _CALIBRATION_FRAMES:
            contender.vocode(np.ascontiguousarray(mel))
    feeds["spoken"] = [
        {"mel": mel}
        for mel in [mode_mels(request.manifest, "offline", sizes), *quality_inputs(request.folder)]
    ]
    return feeds


if __name__ == "__main__":
    main(sys.argv[1:])
