"""The driver of diffusion models: a conditioner once, then a network step by step (DiffWave).

Windows lie inside each step, never around the sampler: every step is a stage that reads the noisy audio of the step
before with the context that one evaluation of the network needs, and follows it at that distance. Nothing is evaluated
with less context than in one pass, and memory is bounded by the number of steps.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import BATCH_ROLES, Manifest
from voirs_vocoder.runtime.config import SessionConfig, VocodingConfig
from voirs_vocoder.runtime.diffusion.adaptive import MAX_ADAPTIVE_FRAMES, adaptive_audio
from voirs_vocoder.runtime.diffusion.choice import chosen_plan
from voirs_vocoder.runtime.diffusion.plan import SamplerPlan
from voirs_vocoder.runtime.diffusion.samplers import ADAPTIVE
from voirs_vocoder.runtime.diffusion.stage import Stage, Track
from voirs_vocoder.runtime.drivers.batch_graph import BatchGraph, Request
from voirs_vocoder.runtime.drivers.diffusion_batch import DiffusionBatchGraph, guided_noise, network_rows
from voirs_vocoder.runtime.drivers.diffusion_stream import DiffusionStream
from voirs_vocoder.runtime.drivers.driver import (
    Driver,
    SessionOpener,
    StreamGraphs,
    affordable_frames,
    refuse_latency,
    session_buckets,
    warm_buckets,
)
from voirs_vocoder.runtime.drivers.row_graph import RowGraph, takes_lengths
from voirs_vocoder.runtime.drivers.settings import DiffusionSettings, setting_names
from voirs_vocoder.runtime.drivers.window import MelReader, RereadMel, Window, window_size, windows
from voirs_vocoder.runtime.errors import ArtifactError, InputError
from voirs_vocoder.runtime.providers import runs_on_gpu
from voirs_vocoder.runtime.streaming.chunk_stream import ChunkStream
from voirs_vocoder.runtime.streaming.config import StreamingConfig

__all__ = ["DiffusionDriver"]

# Smallest ratio of a window to its context, which every step computes again: a fifth of the work at most.
_LEAST_SHARE = 6


class DiffusionDriver(Driver):
    """The driver `diffusion`: runs the graph `conditioner` once and the graph `step` at every sampling step.

    In buckets, the graphs `batch-conditioner` and `batch` take their places.
    """

    roles: tuple[str, ...] = ("conditioner", "step")
    settings = setting_names(DiffusionSettings)

    def __init__(self, manifest: Manifest, opener: SessionOpener, config: SessionConfig) -> None:
        """Load the graphs.

        Args:
            manifest: Manifest of the artifact.
            opener: Loads the graph of a role.
            config: Memory budget and batching.

        Raises:
            ArtifactError: The manifest states no noise schedule, or a graph is damaged.
            ProviderError: The artifact lacks the precision, or the provider cannot run here.
        """
        if manifest.diffusion is None:
            raise ArtifactError(
                "a diffusion artifact must state its schedule in the manifest; export it again"
            )
        self._model = manifest.diffusion
        conditioner, conditioner_entry = opener("conditioner")
        self._opener = opener
        self._config = config
        self._streams = StreamGraphs(opener, manifest.hop_length, config)
        step, entry = opener("step")
        self._hop_length = manifest.hop_length
        self._before, self._after = manifest.context_frames, manifest.look_ahead_frames
        self.provider = step.provider
        self.backend = step.backend
        context = self._before + self._after
        self._window_frames = affordable_frames(entry, config, step, context, _LEAST_SHARE)
        self._longest_input_frames = step.max_frames
        buckets = session_buckets(step, entry, config, self._window_frames, context)
        if buckets is not None:
            self._window_frames = self._longest_input_frames = buckets.longest
        self._step = RowGraph(step, entry, manifest.hop_length, buckets)
        self._conditioner = RowGraph(
            conditioner,
            conditioner_entry,
            manifest.hop_length,
            buckets if takes_lengths(conditioner_entry) else None,
        )
        self._whole = DiffusionBatchGraph(
            self._conditioner, self._step, self._window_frames, self._hop_length, self._plan
        )
        self._batches = config.batching == "together" or (
            config.batching == "auto" and buckets is not None and runs_on_gpu(self.provider)
        )
        self._padded_graphs: list[RowGraph] = []
        self._batch_graph: BatchGraph | None = None
        self._lock = threading.Lock()

    def vocode(self, mel: MelReader, config: VocodingConfig) -> Iterator[NDArray[np.float32]]:
        """Sample an utterance step by step; see `Driver.vocode`."""
        return self._pieces(mel, config, self._plan(config))

    def batch_graph(self, config: VocodingConfig) -> BatchGraph | None:
        """Find the batch graphs, which the first batch loads; see `Driver.batch_graph`."""
        try:
            self._plan(config)
        except InputError:
            # It fails alone, not with the utterances beside it.
            return None
        with self._lock:
            if self._batches and self._batch_graph is None:
                conditioner, step = self._conditioner, self._step
                if step.buckets is None:
                    for role in ("conditioner", "step"):
                        padded = RowGraph(*self._opener(BATCH_ROLES[role]), self._hop_length, None)
                        self._padded_graphs.append(padded)
                    conditioner, step = self._padded_graphs
                frames = affordable_frames(step.entry, self._config, step.session, 0)
                self._batch_graph = DiffusionBatchGraph(
                    conditioner, step, frames, self._hop_length, self._plan
                )
            return self._batch_graph

    def warm(self) -> None:
        """Prepare the buckets that `SessionConfig.warm` names; see `Driver.warm`."""
        for graph in (self._conditioner, self._step):
            warm_buckets(graph, self._config, together=self._batches)

    def open_stream(self, config: VocodingConfig, streaming: StreamingConfig) -> ChunkStream:
        """Begin a live utterance; see `Driver.open_stream`."""
        refuse_latency(streaming, "a diffusion model")
        plan = self._plan(config)
        if plan.sampler == ADAPTIVE:
            raise InputError(
                f"the sampler {ADAPTIVE!r} decides over the whole utterance and cannot stream; choose another one"
            )
        return DiffusionStream(
            self._streams.get("stream-conditioner"),
            self._streams.get("stream"),
            partial(self._streams.open, streaming=streaming),
            plan,
            config.seed or 0,
            1.0 if config.guidance is None else config.guidance,
            self._config,
        )

    def close(self) -> None:
        """Free the loaded graphs; see `Driver.close`."""
        for graph in (self._conditioner, self._step, *self._padded_graphs):
            graph.session.close()
        self._padded_graphs, self._batch_graph = [], None
        self._streams.close()

    def _plan(self, config: VocodingConfig) -> SamplerPlan:
        if config.guidance not in (None, 1.0) and not self._model.drops_conditioning:
            raise InputError(
                f"guidance needs a model that was also trained without a mel, which this one was not, got "
                f"{config.guidance}; leave it out"
            )
        return chosen_plan(self._model, config)

    def _pieces(
        self, mel: MelReader, config: VocodingConfig, plan: SamplerPlan
    ) -> Iterator[NDArray[np.float32]]:
        if self._step.buckets is not None and runs_on_gpu(self.provider):
            read = mel.read(0, self._step.buckets.longest)
            for graph in (self._step, self._conditioner):
                graph.make_fit(max(1, read.shape[1]))
            self._window_frames = self._longest_input_frames = min(
                graph.buckets.longest
                for graph in (self._step, self._conditioner)
                if graph.buckets is not None
            )
            mel = RereadMel(read, mel)
        size = window_size(config, self._window_frames, self._longest_input_frames)
        cut = windows(mel, self._before, self._after, size, fixed=config.window_frames is not None)
        first = next(cut)
        if first.at_end and first.stop <= MAX_ADAPTIVE_FRAMES:
            # One window is the whole utterance, whose conditioner stays on the device from step to step.
            yield from self._whole.run([Request(first.values, config)])
            return
        sample = self._settled if plan.sampler == ADAPTIVE else self._sampled
        yield from sample(itertools.chain((first,), cut), size, config, plan)

    def _sampled(
        self, cut: Iterable[Window], size: int, config: VocodingConfig, plan: SamplerPlan
    ) -> Iterator[NDArray[np.float32]]:
        hop_length, before, after = self._hop_length, self._before, self._after
        conditioner = Track()
        stages = [
            Stage(step, number, config.seed or 0, plan.start_scale) for number, step in enumerate(plan.steps)
        ]
        predict = partial(self._predicted_noise, guidance=config.guidance)
        for window in cut:
            self._condition(window, conditioner)
            for number, stage in enumerate(stages):
                pieces = stage.advance(
                    predict,
                    conditioner,
                    before=before * hop_length,
                    after=after * hop_length,
                    most=max(1, size - before - after) * hop_length,
                    at_end=window.at_end,
                )
                for noisy, clean in pieces:
                    if number + 1 < len(stages):
                        stages[number + 1].receive(noisy, clean)
                    else:
                        yield noisy
            conditioner.drop_before(stages[-1].done - before * hop_length)

    def _settled(
        self, cut: Iterable[Window], size: int, config: VocodingConfig, plan: SamplerPlan
    ) -> Iterator[NDArray[np.float32]]:
        before, after = self._before, self._after
        conditioner = Track()
        for window in cut:
            if window.stop > MAX_ADAPTIVE_FRAMES:
                raise InputError(
                    f"the sampler {ADAPTIVE!r} holds the whole utterance and takes at most {MAX_ADAPTIVE_FRAMES} "
                    "frames, this one has more; choose another sampler, which takes any length"
                )
            self._condition(window, conditioner)
        audio, _ = adaptive_audio(
            plan,
            partial(self._predicted_noise, guidance=config.guidance),
            conditioner,
            seed=config.seed or 0,
            before=before * self._hop_length,
            after=after * self._hop_length,
            most=max(1, size - before - after) * self._hop_length,
        )
        yield audio

    def _condition(self, window: Window, conditioner: Track) -> None:
        if window.frames:
            (result,) = self._conditioner.run([{"mel": window.values}], [window.values.shape[1]])
            conditioner.append(result[:, window.own(self._hop_length)].copy())

    def _predicted_noise(
        self,
        noisy: NDArray[np.float32],
        step: float,
        conditioner: NDArray[np.float32],
        guidance: float | None,
    ) -> NDArray[np.float32]:
        """One evaluation of the network, or two with guidance."""
        rows = network_rows(noisy, step, conditioner, guidance)
        frames = noisy.shape[0] // self._hop_length
        return guided_noise([result[0] for result in self._step.run(rows, [frames] * len(rows))], guidance)
