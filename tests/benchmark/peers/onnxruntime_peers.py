"""ONNX Runtime as users run it: the stock export of torch, quantized dynamically, and behind sherpa-onnx."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmark.peers.contract import (
    CaseFacts,
    Contender,
    Feed,
    Mode,
    Network,
    OpenRequest,
    Peer,
    peer_folder,
    stock_graph,
)
from tests.benchmark.peers.synthesis import GraphContender, cannot_run_in_windows

__all__ = ["ORT_PEERS", "STOCK"]

_SHERPA = "sherpa-onnx"
_DYNAMIC = "onnxruntime-dynamic"


def _session(path: Path, threads: int) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(feed: Feed) -> dict[str, NDArray[np.float32]]:
        return dict(zip(names, session.run(names, dict(feed)), strict=True))

    return run


def _stock_files(folder: Path, facts: CaseFacts) -> Sequence[Path]:
    return [stock_graph(folder, role) for role in facts.roles]


def _own_files(name: str, folder: Path, facts: CaseFacts) -> Sequence[Path]:
    return [peer_folder(folder, name) / f"{role}.onnx" for role in facts.roles]


def _open_stock(request: OpenRequest) -> Contender:
    files = _stock_files(request.folder, request.facts)
    networks = {path.stem: _session(path, request.threads) for path in files}
    return GraphContender(request.manifest, networks, request.facts.transform)


def _open_dynamic(request: OpenRequest) -> Contender:
    files = _own_files(_DYNAMIC, request.folder, request.facts)
    networks = {path.stem: _session(path, request.threads) for path in files}
    return GraphContender(request.manifest, networks, request.facts.transform)


def _make_dynamic(request: OpenRequest, own: Path, feeds: Mapping[str, Sequence[Feed]]) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    del feeds
    for path in _stock_files(request.folder, request.facts):
        model = onnx.load(path)
        # The shapes that torch notes of a `chunk` contradict those that onnx infers, which ends the quantization.
        del model.graph.value_info[:]
        # With the default of signed weights ONNX Runtime has no convolution that runs the result.
        quantize_dynamic(model, own / path.name, weight_type=QuantType.QUInt8)


class _Sherpa:
    """sherpa-onnx, which runs a vocoder only behind a text-to-speech model. See `Contender`.

    That model is one that copies a single mel and computes nothing else.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder = folder
        self._threads = threads
        self._speakers: dict[str, Any] = {}

    def vocode(self, mels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the vocoder behind the model of this mel; see `Contender.vocode`."""
        name = _acoustic_name(mels)
        speaker = self._speakers.setdefault(name, None) or self._speaker(name)
        self._speakers[name] = speaker
        return np.array(speaker(), np.float32)[np.newaxis]

    def first_chunk(self, mel: NDArray[np.float32]) -> None:
        """Refuse; see `Contender.first_chunk`."""
        raise NotImplementedError("sherpa-onnx has no stream of a vocoder")

    def chunks(self, mel: NDArray[np.float32], count: int) -> Iterator[NDArray[np.float32]]:
        """Refuse; see `Contender.chunks`."""
        raise NotImplementedError("sherpa-onnx has no stream of a vocoder")

    def _speaker(self, acoustic_model: str) -> Any:
        import sherpa_onnx

        matcha = sherpa_onnx.OfflineTtsMatchaModelConfig(
            acoustic_model=str(self._folder / acoustic_model),
            vocoder=str(self._folder / "vocoder.onnx"),
            lexicon=str(self._folder / "lexicon.txt"),
            tokens=str(self._folder / "tokens.txt"),
        )
        model = sherpa_onnx.OfflineTtsModelConfig(matcha=matcha, num_threads=self._threads, provider="cpu")
        speech = sherpa_onnx.OfflineTts(sherpa_onnx.OfflineTtsConfig(model=model))
        generation = sherpa_onnx.GenerationConfig()
        # It shortens pauses otherwise.
        generation.silence_scale = 1.0
        return lambda: speech.generate("a", generation).samples


def _acoustic_name(mels: NDArray[np.generic]) -> str:
    return f"mel-{hashlib.sha256(np.ascontiguousarray(mels).tobytes()).hexdigest()[:16]}.onnx"


def _make_sherpa(request: OpenRequest, own: Path, feeds: Mapping[str, Sequence[Feed]]) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    (own / "lexicon.txt").write_text("a a\n", encoding="utf-8")
    (own / "tokens.txt").write_text("_ 0\na 1\n", encoding="utf-8")
    vocoder = onnx.load(stock_graph(request.folder, "offline"))
    helper.set_model_props(vocoder, {"model_type": "hifigan"})
    onnx.save(vocoder, own / "vocoder.onnx")
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.INT64, ["batch", "tokens"]),
        helper.make_tensor_value_info("x_length", TensorProto.INT64, ["batch"]),
        helper.make_tensor_value_info("noise_scale", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("length_scale", TensorProto.FLOAT, [1]),
    ]
    properties = {
        "sample_rate": str(request.manifest.sample_rate),
        "n_speakers": "1",
        "use_eos_bos": "0",
        "pad_id": "0",
        # The frontend that needs a lexicon and no data of espeak.
        "jieba": "1",
    }
    for feed in feeds["spoken"]:
        speech = numpy_helper.from_array(feed["mel"], "speech")
        output = helper.make_tensor_value_info("mel", TensorProto.FLOAT, feed["mel"].shape)
        copy = helper.make_node("Identity", ["speech"], ["mel"])
        graph = helper.make_graph([copy], "acoustic_model", inputs, [output], [speech])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, properties)
        onnx.save(model, own / _acoustic_name(feed["mel"]))


def _cannot_sherpa(facts: CaseFacts, mode: Mode) -> str | None:
    if facts.family != "hifigan":
        return (
            f"sherpa-onnx vocodes with HiFi-GAN, and with Vocos in a form of its own, not with {facts.family}"
        )
    if mode != "offline":
        return "sherpa-onnx gives its vocoder one whole utterance at a time"
    return None


STOCK = Peer(
    name="onnxruntime",
    how="torch.onnx.export in ONNX Runtime",
    arithmetic="fp32",
    open=_open_stock,
    files=_stock_files,
    cannot=cannot_run_in_windows,
)
"""What users have who export a model themselves: every other time is compared with this one's of the same round."""

ORT_PEERS = (
    STOCK,
    Peer(
        name=_DYNAMIC,
        how="ONNX Runtime, quantize_dynamic to UINT8",
        arithmetic="int8",
        open=_open_dynamic,
        files=partial(_own_files, _DYNAMIC),
        make=_make_dynamic,
        cannot=cannot_run_in_windows,
    ),
    Peer(
        name=_SHERPA,
        how="sherpa-onnx, stock export behind a model that knows one mel",
        arithmetic="fp32",
        open=lambda request: _Sherpa(peer_folder(request.folder, _SHERPA), request.threads),
        files=lambda folder, facts: [peer_folder(folder, _SHERPA) / "vocoder.onnx"],
        make=_make_sherpa,
        cannot=_cannot_sherpa,
        modules=("sherpa_onnx",),
        install="pip install sherpa-onnx",
    ),
)
"""ONNX Runtime in its variants."""
