"""The vocoder: an artifact in, audio out. It imports neither torch nor onnx."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import GraphEntry, Manifest, Precision
from voirs_vocoder.runtime.artifact.metadata import VocoderFeature, VocoderMetadata
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.audio import AudioBuffer
from voirs_vocoder.runtime.batch import BatchError
from voirs_vocoder.runtime.config import OPTIONAL_SETTINGS, SessionConfig, VocodingConfig
from voirs_vocoder.runtime.drivers.batch_graph import Request, run_batch
from voirs_vocoder.runtime.drivers.driver import Driver
from voirs_vocoder.runtime.drivers.fork import ForkSafeDriver
from voirs_vocoder.runtime.drivers.registry import open_driver
from voirs_vocoder.runtime.errors import InputError, ProviderError, VoirsVocoderError
from voirs_vocoder.runtime.mel import (
    ArrayMelSource,
    MelRangeWarning,
    MelSource,
    MelSpectrogram,
    check_mel,
    range_hint,
)
from voirs_vocoder.runtime.mel.values import require_convention
from voirs_vocoder.runtime.prosody import Prosody
from voirs_vocoder.runtime.providers import Session, get_provider, open_session
from voirs_vocoder.runtime.streaming import StreamingConfig, VocoderStream
from voirs_vocoder.runtime.tuned import Objective, tuned_setting

if TYPE_CHECKING:
    from voirs_vocoder.runtime.aio import AsyncVocoder

__all__ = ["Vocoder"]


class Vocoder:
    """Turns mel spectrograms into audio.

    Thread safety: any number of threads may call `vocode`, `vocode_source`, `vocode_batch`, `vocode_stream`,
    `open_stream`, `supports` and `metadata` of one vocoder at the same time; each call gets the audio that it gets
    alone. On the provider `cpu` the calls compute in parallel; on the others a run of a graph waits for
    the one before. An iterator that `vocode_source` or `vocode_stream`
    returns is for one thread at a time. `aio` is for the thread of one event loop. `close` must not run while another
    call does.

    Processes: a process that was forked after loading may use the vocoder on the provider `cpu`, which loads the graphs
    again at the first use there; on the others, and in streams that were opened before, ProviderError is raised. A fork
    must end by `os._exit`, as those of multiprocessing do: ONNX Runtime waits for its threads at an ordinary exit.

    Example:
        vocoder = Vocoder.load("artifacts/build/hifigan-v2", provider="cpu", precision="int8")
        audio = vocoder.vocode(mel)
    """

    def __init__(
        self,
        metadata: VocoderMetadata,
        driver: Driver,
        features: frozenset[VocoderFeature],
        reopen: Callable[[], Driver] | None = None,
        parallel_runs: int = 1,
    ) -> None:
        """Use `Vocoder.load` or `Vocoder.from_driver`.

        Args:
            metadata: Description of the loaded artifact.
            driver: Driver that turns mel into audio; the vocoder closes it.
            features: Features that the artifact supports.
            reopen: Opens the driver in a fork of this process; None refuses to run there.
            parallel_runs: Number of utterances of a batch that run one by one at the same time.
        """
        self._metadata = metadata
        self._parallel_runs = parallel_runs
        self._held_driver = ForkSafeDriver(driver, reopen)
        self._features = features
        self._aio: AsyncVocoder | None = None
        self._is_closed = False

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        provider: str = "cpu",
        precision: str = "fp32",
        session: SessionConfig | None = None,
        tuned: Objective | None = None,
        public_key: Path | str | None = None,
    ) -> Self:
        """Load an artifact.

        Args:
            path: Directory of the artifact.
            provider: Name of the provider: `cpu`, `openvino`, `cuda`, `tensorrt`, `tensorrt-engine`, or `auto`.
            precision: Precision of the graphs to run, one that the artifact holds: `fp32`, `fp16`, `int8`.
            session: Threads, memory, batching and buckets; None uses the defaults.
            tuned: Takes provider, precision and session from what `voirs-vocoder tune` measured as best for `latency`,
                `throughput` or `memory` on this kind of processor; the other arguments must be left out then. None
                takes the other arguments.
            public_key: PEM file of the public key with which the artifact must be signed; None takes an artifact that
                is signed by anybody or not at all.

        Returns:
            A vocoder with its graphs loaded, but for those that only streams or batches need.

        Raises:
            ArtifactError: The artifact is damaged or of a later format, or not signed with the private key of
                `public_key`, or changed since.
            ProviderError: The provider or precision is unknown, missing from the artifact, or cannot run here; nothing
                else runs in its place.
            InputError: `SessionConfig.buckets` or `warm` does not suit the model; or the artifact was not tuned on this
                kind of processor, or `tuned` was given along with what it decides; or `public_key` is no key for
                signatures of artifacts, or `cryptography` is not installed.
        """
        artifact = Artifact.open(path, public_key=public_key)
        if tuned is not None:
            if (provider, precision, session) != ("cpu", "fp32", None):
                raise InputError(
                    f"tuned={tuned!r} decides provider, precision and session; leave them out, or leave out tuned"
                )
            setting = tuned_setting(artifact, tuned)
            provider, precision, session = setting.provider, setting.precision, setting.session
        config = session or SessionConfig()
        opener = partial(_opened, artifact, precision, provider, config)
        open_own = partial(open_driver, artifact.manifest, opener, config)
        driver = open_own()
        driver.warm()
        reopens = get_provider(driver.provider).reopens_after_fork
        return cls.from_driver(
            artifact.manifest,
            precision,
            driver,
            open_own if reopens else None,
            parallel_runs=config.parallel_runs,
        )

    @classmethod
    def from_driver(
        cls,
        manifest: Manifest,
        precision: Precision,
        driver: Driver,
        reopen: Callable[[], Driver] | None = None,
        *,
        parallel_runs: int = 1,
    ) -> Self:
        """Make a vocoder over a driver that is already open.

        Args:
            manifest: Manifest of the artifact that the driver runs.
            precision: Precision of the driver's graphs.
            driver: Driver that turns mel into audio; the vocoder closes it.
            reopen: Opens the driver in a fork of this process, on first use; None refuses to run there.
            parallel_runs: Number of utterances of a batch that run one by one at the same time; the provider must be
                one that runs in parallel.
        """
        metadata = VocoderMetadata(
            family=manifest.family,
            variant=manifest.variant,
            precision=precision,
            provider=driver.provider,
            backend=driver.backend,
            sample_rate=manifest.sample_rate,
            hop_length=manifest.hop_length,
            convention=manifest.mel,
            look_ahead_frames=manifest.look_ahead_frames,
            licence=manifest.licence,
        )
        roles = {graph.role for graph in manifest.graphs}
        features = frozenset(f for f in VocoderFeature if f.value in roles)
        return cls(metadata, driver, features, reopen, parallel_runs)

    @property
    def metadata(self) -> VocoderMetadata:
        """Description of the loaded artifact: family, precision, provider, sample rate, convention."""
        return self._metadata

    def supports(self, feature: VocoderFeature) -> bool:
        """Whether the artifact holds the graphs that a feature needs."""
        return feature in self._features

    def vocode(
        self, mel: NDArray[np.float32] | MelSpectrogram, config: VocodingConfig | None = None
    ) -> AudioBuffer:
        """Synthesize one utterance.

        Args:
            mel: Float32 [n_mels, frames] or [1, n_mels, frames] in the model's convention, or a `MelSpectrogram`,
                whose convention is checked.
            config: Settings of the utterance; None uses the defaults.

        Returns:
            Float32 audio [1, frames * hop_length], nominally in [-1, 1]. Where `config.speed` is not 1, the number of
            samples is divided by it.

        Raises:
            InputError: The mel has another convention, type or number of bands, no frames, or values that are not
                finite; or a setting does not suit the model.
            ProviderError: The provider failed, or gave other audio than the artifact promises.
        """
        checked = self._checked_config(config)
        source = ArrayMelSource(self._checked(mel), self._metadata.convention)
        prosody = Prosody.of(checked, self._metadata.sample_rate)
        length = prosody.samples(source.values.shape[1], self._metadata.hop_length)
        samples = np.zeros((1, length), np.float32)
        position = 0
        for audio in self._windows(source, config):
            if position + audio.shape[0] <= length:
                samples[0, position : position + audio.shape[0]] = audio
            position += audio.shape[0]
        if position != length:
            raise ProviderError(
                f"the driver must give {length} samples for {source.values.shape[1]} frames, got {position}; export "
                "the artifact again"
            )
        return AudioBuffer(samples, self._metadata.sample_rate)

    def vocode_source(self, source: MelSource, config: VocodingConfig | None = None) -> Iterator[AudioBuffer]:
        """Synthesize one utterance of any length, window by window in bounded memory.

        Args:
            source: Mel frames by position, such as `AudioMelSource` over a file.
            config: Settings of the utterance; None uses the defaults.

        Yields:
            Consecutive pieces of the audio, float32 [1, samples]; together they equal the audio of `vocode`.

        Raises:
            InputError: The mel has another convention, no frames, or values that are not finite; or a setting does not
                suit the model.
            ProviderError: The provider failed.
        """
        require_convention(source.convention, self._metadata.convention)
        for audio in self._windows(source, config):
            yield AudioBuffer(audio[np.newaxis].copy(), self._metadata.sample_rate)

    def vocode_batch(
        self,
        mels: Sequence[NDArray[np.float32] | MelSpectrogram],
        configs: VocodingConfig | Sequence[VocodingConfig | None] | None = None,
    ) -> list[AudioBuffer]:
        """Synthesize several utterances, whose lengths may differ.

        Args:
            mels: Mel of each utterance, as for `vocode`.
            configs: Settings for all utterances, or one item for each; None uses the defaults.

        Returns:
            Audio of each utterance in order; each equals the audio of its own `vocode`.

        Raises:
            BatchError: Some utterances failed; the error holds their failures by position, and the audio of the others.
            InputError: There are not as many configurations as mels.
            ProviderError: `SessionConfig.batching` asks for a batch graph that the artifact does not have.
        """
        chosen = _configs_for(len(mels), configs)
        requests: dict[int, Request] = {}
        prosodies: dict[int, Prosody] = {}
        refused: dict[int, VoirsVocoderError] = {}
        for position, mel in enumerate(mels):
            try:
                config = self._checked_config(chosen[position])
                prosody = Prosody.of(config, self._metadata.sample_rate)
                requests[position] = Request(prosody.mel(self._checked(mel)), config.without_prosody)
                prosodies[position] = prosody
            except VoirsVocoderError as error:
                refused[position] = error
        result = run_batch(
            self._driver.batch_graph,
            requests,
            lambda request: self.vocode(request.mel, request.config),
            self._metadata.sample_rate,
            self._parallel_runs,
        )
        audios = {position: prosodies[position].buffer(audio) for position, audio in result.audios.items()}
        failures = refused | result.failures
        if failures:
            raise BatchError([audios.get(position) for position in range(len(mels))], failures)
        return [audios[position] for position in range(len(mels))]

    def open_stream(
        self, config: VocodingConfig | None = None, streaming: StreamingConfig | None = None
    ) -> VocoderStream:
        """Begin a live utterance. Any number of streams share the loaded graphs.

        With a latency setting, the first stream times the graph on this machine, which other work would disturb.

        Args:
            config: Settings of the utterance; None uses the defaults.
            streaming: Chunks and latency of the stream; None uses the defaults.

        Returns:
            A stream at the start of an utterance.

        Raises:
            InputError: A setting does not suit the model, has no finite look-ahead, or asks for an impossible latency.
            ProviderError: The artifact has no stream graph of this precision, or the provider cannot run it.
        """
        if streaming is not None and not isinstance(streaming, StreamingConfig):
            raise InputError(f"streaming must be a StreamingConfig or None, got {type(streaming).__name__}")
        streaming = streaming or StreamingConfig()
        checked = self._checked_config(config)
        stream = self._driver.open_stream(checked, streaming)
        prosody = Prosody.of(checked, self._metadata.sample_rate)
        return VocoderStream(stream, self._metadata.convention, streaming, prosody)

    def vocode_stream(
        self,
        mel_chunks: Iterable[NDArray[np.float32] | MelSpectrogram],
        config: VocodingConfig | None = None,
        streaming: StreamingConfig | None = None,
    ) -> Iterator[AudioBuffer]:
        """Synthesize one utterance from mel chunks of any size, as an acoustic model yields them.

        Args:
            mel_chunks: Consecutive mel chunks, each as for `VocoderStream.push`.
            config: Settings of the utterance; None uses the defaults.
            streaming: Chunks and latency of the stream; None uses the defaults.

        Yields:
            Consecutive pieces of the audio, float32 [1, samples]; together as long as the audio of `vocode` and equal
            to it, unless `streaming` has a latency setting, with which the audio approximates it. At the end a
            `MelRangeWarning` is given if the range of the values suggests another convention.

        Raises:
            InputError: A setting does not suit the model, or a chunk has another convention, type or number of bands,
                or values that are not finite.
            ProviderError: The artifact has no stream graph of this precision, or the provider failed.
        """
        with self.open_stream(config, streaming) as stream:
            for chunk in mel_chunks:
                audio = stream.push(chunk)
                if audio.samples.size:
                    yield audio
            audio = stream.flush()
            if audio.samples.size:
                yield audio

    @property
    def aio(self) -> AsyncVocoder:
        """This vocoder for asyncio, with the default queues and one event loop at a time; the first access makes it."""
        if self._aio is None:
            # Importing asyncio takes 28 ms, which only those pay who use it.
            from voirs_vocoder.runtime.aio import AsyncVocoder

            self._aio = AsyncVocoder(self)
        return self._aio

    def close(self) -> None:
        """Free the loaded graphs, after the calls of other threads have ended. Closing twice is harmless.

        Calls that begin later, and streams that are open, raise InputError.
        """
        if not self._is_closed:
            self._is_closed = True
            self._held_driver.close()

    def __reduce__(self) -> NoReturn:
        """Refuse copies, which pickling and `copy` would make.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "a vocoder cannot be pickled or copied, since its graphs are loaded in this process; load the artifact in "
            "each process"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _driver(self) -> Driver:
        return self._held_driver.get()

    def _windows(self, source: MelSource, config: VocodingConfig | None) -> Iterator[NDArray[np.float32]]:
        checked = self._checked_config(config)
        prosody = Prosody.of(checked, self._metadata.sample_rate)
        return prosody.audio(self._driver.vocode(prosody.source(source), checked))

    def _require_open(self) -> None:
        if self._is_closed:
            raise InputError("the vocoder is closed; load it again")

    def _checked_config(self, config: VocodingConfig | None) -> VocodingConfig:
        self._require_open()
        if config is not None and not isinstance(config, VocodingConfig):
            raise InputError(f"config must be a VocodingConfig or None, got {type(config).__name__}")
        chosen = config or VocodingConfig()
        for name in OPTIONAL_SETTINGS:
            if getattr(chosen, name) is not None and name not in self._driver.settings:
                known = ", ".join(sorted(self._driver.settings)) or "none"
                raise InputError(
                    f"{name} means nothing to a {self._metadata.family} model, which has these settings: {known}; "
                    f"leave {name} out"
                )
        return chosen

    def _checked(self, mel: NDArray[np.float32] | MelSpectrogram) -> NDArray[np.float32]:
        if isinstance(mel, MelSpectrogram):
            require_convention(mel.convention, self._metadata.convention)
            mel = mel.values
        values = check_mel(mel, self._metadata.convention)
        hint = range_hint(values, self._metadata.convention)
        if hint:
            warnings.warn(hint, MelRangeWarning, stacklevel=3)
        return values


def _opened(
    artifact: Artifact, precision: Precision, provider: str, config: SessionConfig, role: str
) -> tuple[Session, GraphEntry]:
    return open_session(artifact, role, precision, provider, config, in_buckets=True)


def _configs_for(
    count: int, configs: VocodingConfig | Sequence[VocodingConfig | None] | None
) -> Sequence[VocodingConfig | None]:
    if configs is None or isinstance(configs, VocodingConfig):
        return [configs] * count
    if len(configs) != count:
        raise InputError(f"configs must be one for each of {count} mels, got {len(configs)}")
    return configs
