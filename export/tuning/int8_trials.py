"""What mixes of INT8 and FP32 layers cost and sound like: each mix is made, vocoded and timed as a whole artifact."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from voirs_vocoder.calibration.config import Int8Config
from voirs_vocoder.calibration.int8 import Int8Recipe
from voirs_vocoder.calibration.layer_times import TimeModel, saved_seconds
from voirs_vocoder.export.artifact.writer import create_artifact
from voirs_vocoder.export.graphs.built import BuiltGraph
from voirs_vocoder.export.graphs.example_inputs import Feed, feeds_from_mels
from voirs_vocoder.export.graphs.reduced import KEEP_ALL, derived_graph, int8_graphs
from voirs_vocoder.export.quantize import fp32_source, open_fp32
from voirs_vocoder.export.validation.speech import Speech
from voirs_vocoder.runtime import Artifact, SessionConfig, Vocoder, VocodingConfig
from voirs_vocoder.runtime.artifact.manifest import Manifest, Target
from voirs_vocoder.runtime.diffusion.choice import chosen_plan
from voirs_vocoder.runtime.drivers.registry import driver_roles
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.metrics import multi_resolution_stft
from voirs_vocoder.runtime.progress import Progress

__all__ = ["MixedTrials", "Noise", "Part", "excerpt", "noise_of", "snr_of", "vocode"]

_TARGET: Target = "cpu"
# What is timed, in seconds of audio; a diffusion model takes as long for one as others for ten.
_TIMED_S = {"direct": 3.0, "flow": 1.0, "diffusion": 1.0}
_ROUNDS = 9
_SENSITIVITY_S = 1.5
_LEAST_SHARE = 1e-20


@dataclass(frozen=True)
class Part:
    """Convolutions that are INT8 or FP32 together.

    Attributes:
        role: Role of the graph.
        name: Name of the part, unique within the graph.
        convolutions: Names of the convolutions.
    """

    role: str
    name: str
    convolutions: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Noise:
    """What a mix adds to the audio of FP32.

    Attributes:
        shares: Energy of the difference to FP32 divided by the energy of FP32, of each recording, float64 [recordings].
        multi_resolution_stft: Mean multi-resolution STFT distance to FP32.
    """

    shares: NDArray[np.float64]
    multi_resolution_stft: float

    @property
    def snr_db(self) -> float:
        """Mean SNR over the recordings, at most 200 dB."""
        return snr_of(self.shares)


def snr_of(shares: NDArray[np.float64]) -> float:
    """Mean SNR in dB of recordings with these ratios of noise to signal, of which none counts as more than 200 dB."""
    return float(np.mean(-10.0 * np.log10(np.maximum(shares, _LEAST_SHARE))))


class MixedTrials:
    """Makes and measures mixes of INT8 and FP32 on the CPU.

    Args:
        artifact: Opened artifact with FP32 graphs that can be quantized.
        mels: Mels to calibrate on, each float32 [n_mels, frames].
        config: How to quantize.
        utterances: Recordings to vocode, at least one.
        threads: Worker threads of each session.
        progress: Receives what is being done, the number of its parts that are done, and the number of parts.

    Raises:
        InputError: No layer of the model can be quantized, or the calibration does not fit.
        ArtifactError: The artifact is damaged or lacks an FP32 graph.
    """

    def __init__(
        self,
        artifact: Artifact,
        mels: Sequence[NDArray[np.float32]],
        config: Int8Config,
        utterances: Sequence[Speech],
        threads: int,
        progress: Progress,
    ) -> None:
        manifest = artifact.manifest
        self._manifest, self._artifact, self._utterances = manifest, artifact, utterances
        self._session = SessionConfig(threads=threads)
        self._threads = threads
        self._fp32: dict[str, BuiltGraph] = {}
        self._recipes: dict[str, Int8Recipe] = {}
        self._feeds: dict[str, Feed] = {}
        self._fixed: list[BuiltGraph] = []
        for role in driver_roles(manifest.driver):
            self._prepare(role, mels, config, progress)
        if not self._recipes:
            raise InputError(
                f"a mix of INT8 and FP32 needs layers that can be INT8, this {manifest.family} has none"
            )
        self.parts = [part for role, recipe in self._recipes.items() for part in self._parts_of(role, recipe)]
        self._short = [excerpt(each, _SENSITIVITY_S, manifest) for each in utterances]
        with self.opened(None) as vocoder:
            self.reference = vocode(vocoder, utterances)
            self._short_reference = vocode(vocoder, self._short)
            self.backend = vocoder.metadata.backend

    def _prepare(
        self, role: str, mels: Sequence[NDArray[np.float32]], config: Int8Config, progress: Progress
    ) -> None:
        entry = next(
            (graph for graph in self._manifest.graphs if (graph.role, graph.precision) == (role, "fp32")),
            None,
        )
        if entry is None or "int8" not in entry.keep_float:
            return
        source = fp32_source(self._artifact, entry)
        self._fp32[role] = source
        float_parts = entry.keep_float["int8"]
        feeds = feeds_from_mels(
            entry,
            mels,
            self._manifest.hop_length,
            self._manifest.diffusion,
            partial(open_fp32, self._artifact),
        )
        if float_parts == KEEP_ALL:
            self._fixed += int8_graphs(source, feeds, progress, [_TARGET], config)
            return
        model = onnx.load_from_string(source.data)
        self._recipes[role] = Int8Recipe.measured(model, feeds, _TARGET, float_parts, config, progress)
        self._feeds[role] = feeds[0]

    def _parts_of(self, role: str, recipe: Int8Recipe) -> Iterator[Part]:
        """A part for each convolution; for each flow of a flow model, whose layers share one loop."""
        groups: dict[str, list[str]] = {}
        for name in recipe.names:
            in_flow = self._manifest.driver == "flow" and name.count(".") > 1
            groups.setdefault(".".join(name.split(".")[:2]) if in_flow else name, []).append(name)
        return (Part(role, name, tuple(members)) for name, members in groups.items())

    @contextlib.contextmanager
    def opened(self, float_parts: Collection[Part] | None) -> Iterator[Vocoder]:
        """A vocoder with a mix.

        Args:
            float_parts: Parts that stay FP32; None opens the FP32 graphs themselves.
        """
        if float_parts is None:
            with Vocoder.load(
                self._artifact.root, precision="fp32", provider="cpu", session=self._session
            ) as fp32:
                yield fp32
            return
        graphs = [*self._fixed, *(self._graph(role, float_parts) for role in self._recipes)]
        manifest = msgspec.structs.replace(
            self._manifest, graphs=tuple(graph.entry for graph in graphs), engines=(), files=()
        )
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "mix"
            create_artifact(
                root, manifest, {graph.entry.file.path: graph.data for graph in graphs}, force=False
            )
            with Vocoder.load(root, precision="int8", provider="cpu", session=self._session) as vocoder:
                yield vocoder

    def _graph(self, role: str, float_parts: Collection[Part]) -> BuiltGraph:
        recipe = self._recipes[role]
        left_float = [name for part in float_parts if part.role == role for name in part.convolutions]
        model = recipe.graph(left_float)
        return derived_graph(
            self._fp32[role], model, "int8", _TARGET, {}, len(recipe.names) - len(left_float)
        )

    def noise_of_each(self, progress: Progress) -> tuple[dict[Part, Noise], NDArray[np.float64]]:
        """The noise of the final audio where one part is INT8 and the others are FP32, for each part.

        It is measured on the middle 1.5 s of every recording. What the graph without any INT8 layer adds, such as the
        weights that it stores in half precision, is taken off.

        Args:
            progress: Receives the part, the number of parts that are done, and the number of parts.

        Returns:
            Noise of each part, and the shares of noise that were taken off, float64 [recordings].
        """
        with self.opened(self.parts) as vocoder:
            unavoidable = noise_of(self._short_reference, vocode(vocoder, self._short)).shares
        found = {}
        for done, part in enumerate(self.parts):
            progress(f"sensitivity of {part.name}", done, len(self.parts))
            with self.opened([other for other in self.parts if other != part]) as vocoder:
                noise = noise_of(self._short_reference, vocode(vocoder, self._short))
            shares = np.maximum(noise.shares - unavoidable, 0.0)
            found[part] = Noise(shares, noise.multi_resolution_stft)
        return found, unavoidable

    def saved_s(self, progress: Progress) -> tuple[dict[Part, float], TimeModel]:
        """Seconds per second of audio that INT8 saves in each part, and how the time was divided among parts."""
        saved: dict[Part, float] = {}
        models: set[TimeModel] = set()
        manifest = self._manifest
        for role, recipe in self._recipes.items():
            progress("profiling", 0, 0)
            feed = self._feeds[role]
            graphs = recipe.graph(recipe.names), recipe.graph(())
            times, model = saved_seconds(*graphs, recipe.costs, feed, self._threads)
            models.add(model)
            audio_s = _samples_of(feed, manifest.hop_length) / manifest.sample_rate
            runs = len(chosen_plan(manifest.diffusion, VocodingConfig()).steps) if manifest.diffusion else 1
            for part in self.parts:
                if part.role == role:
                    saved[part] = runs * sum(times[name] for name in part.convolutions) / audio_s
        return saved, "profile" if models == {"profile"} else "multiply-accumulates"

    def rtfs(self, mixes: Sequence[Collection[Part] | None], progress: Progress) -> list[NDArray[np.float64]]:
        """Real-time factors of mixes that take turns.

        Args:
            mixes: FP32 parts of each mix; None is the FP32 artifact.
            progress: Receives the number of rounds that are done.

        Returns:
            For each mix, float64 [rounds].
        """
        manifest = self._manifest
        frames = round(_TIMED_S[manifest.driver] * manifest.sample_rate / manifest.hop_length)
        mel = max((each.mel.values for each in self._utterances), key=lambda values: values.shape[1])[
            :, :frames
        ]
        audio_s = mel.shape[1] * manifest.hop_length / manifest.sample_rate
        times = np.zeros((len(mixes), _ROUNDS))
        with contextlib.ExitStack() as stack:
            vocoders = [stack.enter_context(self.opened(mix)) for mix in mixes]
            for vocoder in vocoders:
                vocoder.vocode(mel)
            for turn in range(_ROUNDS):
                progress("timing", turn, _ROUNDS)
                for place, vocoder in enumerate(vocoders):
                    started_s = time.perf_counter()
                    vocoder.vocode(mel)
                    times[place, turn] = time.perf_counter() - started_s
        return list(times / audio_s)


def vocode(vocoder: Vocoder, utterances: Sequence[Speech]) -> list[NDArray[np.float32]]:
    """Audio of every recording, as long as the recording, float32 [samples]."""
    return [vocoder.vocode(each.mel).samples[0, : each.samples.size] for each in utterances]


def noise_of(reference: Sequence[NDArray[np.float32]], audios: Sequence[NDArray[np.float32]]) -> Noise:
    """What the audio of a mix adds to that of FP32.

    Args:
        reference: Audio of FP32, of every recording, float32 [samples].
        audios: Audio of the mix, as long.
    """
    pairs = list(zip(reference, audios, strict=True))
    energies = [np.sum((wanted.astype(np.float64) - got) ** 2) for wanted, got in pairs]
    signal = [
        max(float(np.sum(wanted.astype(np.float64) ** 2)), np.finfo(np.float64).tiny) for wanted in reference
    ]
    return Noise(
        shares=np.array(energies) / np.array(signal),
        multi_resolution_stft=float(np.mean([multi_resolution_stft(*pair) for pair in pairs])),
    )


def excerpt(speech: Speech, longest_s: float, manifest: Manifest) -> Speech:
    """The middle of a recording, where its speech is.

    Args:
        speech: Recording and its mel.
        longest_s: Length of the excerpt in seconds, at which a shorter recording stays whole.
        manifest: Manifest of the artifact whose mel it is.
    """
    most = round(longest_s * manifest.sample_rate / manifest.hop_length)
    values = speech.mel.values
    start = max((values.shape[1] - most) // 2, 0)
    samples = speech.samples[start * manifest.hop_length : (start + most) * manifest.hop_length]
    cut = np.ascontiguousarray(values[:, start : start + most])
    return replace(speech, samples=samples, mel=replace(speech.mel, values=cut))


def _samples_of(feed: Mapping[str, NDArray[np.generic]], hop_length: int) -> int:
    if "mel" in feed:
        return int(feed["mel"].shape[-1]) * hop_length
    return int(feed["noisy_audio"].shape[-1])
