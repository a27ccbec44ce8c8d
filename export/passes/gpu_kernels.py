"""The operators and types for which ONNX Runtime has CUDA kernels, of those that vocoders use."""

from __future__ import annotations

from onnx import TensorProto

__all__ = ["HOST_INPUTS", "HOST_OUTPUTS", "KERNEL_TYPES"]

# Source: docs/OperatorKernels.md of microsoft/onnxruntime, commit 001d12d2623fd411ce0f83d05abb5e82304a3389: the rows of
# CUDAExecutionProvider that hold for opset 20. Types that no vocoder has are left out.
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})
_WIDE_INTEGERS = frozenset({TensorProto.INT32, TensorProto.INT64, TensorProto.UINT32, TensorProto.UINT64})
_BYTES = frozenset({TensorProto.INT8, TensorProto.UINT8})
_SMALL_INTEGERS = _BYTES | {TensorProto.INT16, TensorProto.UINT16}
_BOOL = frozenset({TensorProto.BOOL})
_ANY = _FLOATS | _WIDE_INTEGERS | _SMALL_INTEGERS | _BOOL
_INT32, _INT64 = frozenset({TensorProto.INT32}), frozenset({TensorProto.INT64})

KERNEL_TYPES: dict[str, frozenset[int]] = {
    **dict.fromkeys(
        ("Cast", "Concat", "ConstantOfShape", "Expand", "Flatten", "Gather", "GatherElements"), _ANY
    ),
    **dict.fromkeys(("Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"), _ANY),
    **dict.fromkeys(("Conv", "ConvTranspose", "Einsum", "Gemm", "InstanceNormalization"), _FLOATS),
    **dict.fromkeys(("LayerNormalization", "MatMul", "Softmax", "LogSoftmax"), _FLOATS),
    **dict.fromkeys(
        ("Ceil", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "LeakyRelu", "Log", "PRelu"), _FLOATS
    ),
    **dict.fromkeys(
        ("Reciprocal", "Relu", "Round", "Sigmoid", "Sin", "Softplus", "Sqrt", "Sum", "Tanh"), _FLOATS
    ),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _FLOATS | _WIDE_INTEGERS | _SMALL_INTEGERS),
    **dict.fromkeys(("Abs", "Sign"), _FLOATS | _WIDE_INTEGERS | _SMALL_INTEGERS),
    **dict.fromkeys(("Less", "LessOrEqual", "Greater", "GreaterOrEqual"), _FLOATS | _WIDE_INTEGERS),
    **dict.fromkeys(("Max", "Min", "Mod", "CumSum"), _FLOATS | _WIDE_INTEGERS),
    **dict.fromkeys(("And", "Or", "Xor", "Not"), _BOOL),
    **dict.fromkeys(("Pow", "ReduceMax", "ReduceSum", "Tile"), _FLOATS | _INT32 | _INT64),
    **dict.fromkeys(("AveragePool", "BatchNormalization", "DepthToSpace", "GlobalAveragePool"), _FLOATS),
    **dict.fromkeys(
        ("GlobalMaxPool", "HardSigmoid", "HardSwish", "LRN", "Selu", "Shrink", "Softsign"), _FLOATS
    ),
    **dict.fromkeys(("SpaceToDepth", "ThresholdedRelu", "ReduceLogSum", "ReduceLogSumExp"), _FLOATS),
    **dict.fromkeys(("ReduceSumSquare", "ArgMax", "ArgMin"), _FLOATS),
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceProd"), _FLOATS | _INT32),
    **dict.fromkeys(("ScatterElements", "ScatterND", "Trilu"), _ANY),
    "QuantizeLinear": _FLOATS - {TensorProto.DOUBLE},
    "DequantizeLinear": _BYTES,
    "MaxPool": _FLOATS | _BYTES,
    "TopK": _FLOATS | _INT32 | _INT64,
    "Clip": _FLOATS | _INT64 | _BYTES,
    "Equal": _FLOATS | _WIDE_INTEGERS | _BOOL,
    "GatherND": _FLOATS | _INT64 | _BOOL,
    "Neg": _FLOATS | _INT32 | _INT64 | _BYTES,
    "Pad": _FLOATS | _BOOL,
    "Range": _FLOATS - {TensorProto.FLOAT16} | _INT32 | _INT64,
    "ReduceMean": _FLOATS | _INT32,
    "ReduceMin": _FLOATS | _INT32 | _INT64 | _BYTES,
    "Resize": _FLOATS | _INT32 | {TensorProto.UINT8},
    "Where": _FLOATS | _INT32 | _INT64 | {TensorProto.UINT8},
}
"""Types that the data of an operator may have; an operator that is not here has no kernel, or none that is known."""

HOST_INPUTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(
        ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"), (1,)
    ),
    **dict.fromkeys(("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"), (1,)),
    **dict.fromkeys(
        ("CumSum", "Expand", "Reshape", "Split", "Squeeze", "Tile", "TopK", "Trilu", "Unsqueeze"), (1,)
    ),
    "Clip": (1, 2),
    "ConstantOfShape": (0,),
    "Pad": (1, 2, 3),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
}
"""Inputs that a CUDA kernel reads in the memory of the host."""

HOST_OUTPUTS = frozenset({"Shape", "Size"})
"""Operators whose CUDA kernels write to the memory of the host, so that ONNX Runtime moves what follows to the CPU."""
