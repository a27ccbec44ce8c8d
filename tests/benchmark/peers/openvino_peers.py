"""OpenVINO as users run it: the stock export of torch in FP32 and BF16, and INT8 by NNCF after training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmark.peers.contract import (
    CaseFacts,
    Contender,
    Feed,
    OpenRequest,
    Peer,
    peer_folder,
    stock_graph,
)
from tests.benchmark.peers.synthesis import GraphContender, cannot_run_in_windows

__all__ = ["OPENVINO_PEERS"]

_NNCF = "openvino-nncf"


class _Network:
    """A graph, compiled for the shapes of each run, as a fixed shape is what OpenVINO runs fastest. See `Network`."""

    def __init__(self, path: Path, threads: int, properties: Mapping[str, str]) -> None:
        import openvino

        self._core = openvino.Core()
        self._model = self._core.read_model(path)
        self._properties: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            **properties,
        }
        self._requests: dict[tuple[tuple[int, ...], ...], Any] = {}

    def __call__(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        shapes = {name: values.shape for name, values in feed.items()}
        key = tuple(shapes.values())
        if key not in self._requests:
            model = self._model.clone()
            model.reshape(shapes)
            compiled = self._core.compile_model(model, "CPU", self._properties)
            self._requests[key] = compiled.create_infer_request()
        results = self._requests[key].infer(dict(feed), share_inputs=True)
        return {output.get_any_name(): results[output].copy() for output in results}


def _stock_files(folder: Path, facts: CaseFacts) -> Sequence[Path]:
    return [stock_graph(folder, role) for role in facts.roles]


def _nncf_files(folder: Path, facts: CaseFacts) -> Sequence[Path]:
    own = peer_folder(folder, _NNCF)
    return [own / f"{role}{ending}" for role in facts.roles for ending in (".xml", ".bin")]


def _open(files: Any, properties: Mapping[str, str], request: OpenRequest) -> Contender:
    networks = {
        path.stem: _Network(path, request.threads, properties)
        for path in files(request.folder, request.facts)
        if path.suffix != ".bin"
    }
    return GraphContender(request.manifest, networks, request.facts.transform)


def _make_nncf(request: OpenRequest, own: Path, feeds: Mapping[str, Sequence[Feed]]) -> None:
    import nncf
    import openvino

    for path in _stock_files(request.folder, request.facts):
        role_feeds = [dict(feed) for feed in feeds[path.stem]]
        model = openvino.Core().read_model(path)
        # Some graphs do not compile while an axis may be empty.
        model.reshape({name: values.shape for name, values in role_feeds[0].items()})
        quantized = nncf.quantize(model, nncf.Dataset(role_feeds), subset_size=len(role_feeds))
        openvino.save_model(quantized, own / f"{path.stem}.xml", compress_to_fp16=False)


OPENVINO_PEERS = (
    Peer(
        name="openvino",
        how="torch.onnx.export in OpenVINO, FP32, fixed shape",
        arithmetic="fp32",
        open=partial(_open, _stock_files, {"INFERENCE_PRECISION_HINT": "f32"}),
        files=_stock_files,
        cannot=cannot_run_in_windows,
    ),
    Peer(
        name="openvino-bf16",
        how="the same with INFERENCE_PRECISION_HINT=bf16",
        arithmetic="bf16",
        open=partial(_open, _stock_files, {"INFERENCE_PRECISION_HINT": "bf16"}),
        files=_stock_files,
        cannot=cannot_run_in_windows,
    ),
    Peer(
        name=_NNCF,
        how="OpenVINO, nncf.quantize with its defaults",
        arithmetic="int8",
        open=partial(_open, _nncf_files, {}),
        files=_nncf_files,
        make=_make_nncf,
        cannot=cannot_run_in_windows,
        modules=("nncf",),
        install="pip install --constraint constraints.txt --group bench-peers",
    ),
)
"""OpenVINO in its variants."""
