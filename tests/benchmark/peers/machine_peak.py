"""`python -m tests.benchmark.peers.machine_peak THREADS`: the most arithmetic that this machine does per second.

A product of two square matrices of 2048 rows, the best of 15 runs, with the same number of threads as the peers: FP32
and BF16 by torch (oneDNN), INT8 by MatMulInteger of ONNX Runtime, unsigned by signed as in its convolutions. A product
counts 2 * 2048^3 operations, as multiplications and additions. BF16 and INT8 are measured where the CPU has
instructions for them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from tests.benchmark.peers.contract import Arithmetic
from tests.benchmark.peers.turns import last_line, worker_environment
from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.runtime.machine import read_processor

__all__ = ["cpu_has_amx", "cpu_has_bf16", "measured_peaks"]

_ROWS = 2048
_RUNS = 15
_CPUINFO = Path("/proc/cpuinfo")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


def measured_peaks(threads: int) -> dict[Arithmetic, float]:
    """Arithmetic to billions of operations per second, measured in a fresh process.

    Args:
        threads: Number of threads.

    Raises:
        ExportError: The process failed.
    """
    finished = subprocess.run(
        [sys.executable, "-m", "tests.benchmark.peers.machine_peak", str(threads)],
        capture_output=True,
        text=True,
        check=False,
        env=worker_environment(threads),
    )
    if finished.returncode:
        words = last_line(finished.stderr, finished.returncode)
        raise ExportError(f"measuring the machine's peak failed: {words}; run the module alone")
    return msgspec.json.decode(finished.stdout.splitlines()[-1], type=dict[Arithmetic, float])


def cpu_has_amx() -> bool:
    """Whether the CPU multiplies matrices in tiles (AMX)."""
    return any(name.startswith("amx") for name in read_processor().int8_instructions)


def cpu_has_bf16(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether the CPU has instructions for BF16; False where that is unknown.

    Args:
        cpuinfo: File in the format of `/proc/cpuinfo`; it may be absent.
    """
    if not cpuinfo.is_file():
        return False
    text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^(?:flags|Features)\s*: (.*)$", text, re.MULTILINE)
    return bool(found and _BF16_FLAGS & set(found[1].split()))


def _gflop_per_s(run: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_RUNS):
        started_s = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started_s)
    return 2 * _ROWS**3 / 1e9 / min(seconds)


def _main(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    peaks: dict[Arithmetic, float] = {}
    left, right = torch.randn(2, _ROWS, _ROWS)
    with torch.inference_mode():
        peaks["fp32"] = _gflop_per_s(lambda: left @ right)
        if cpu_has_bf16():
            left, right = left.to(torch.bfloat16), right.to(torch.bfloat16)
            peaks["bf16"] = _gflop_per_s(lambda: left @ right)
    if read_processor().int8_instructions:
        peaks["int8"] = _gflop_per_s(_integer_product(threads))
    sys.stdout.buffer.write(msgspec.json.encode(peaks) + b"\n")


def _integer_product(threads: int) -> Callable[[], object]:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    shape = (_ROWS, _ROWS)
    weights = numpy_helper.from_array(rng.integers(-127, 128, shape, np.int8), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["values", "weights"], ["sums"])],
        "product",
        [helper.make_tensor_value_info("values", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, shape)],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {"values": rng.integers(0, 256, shape, np.uint8)}
    return lambda: session.run(None, feed)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
