"""Edits of ONNX graphs, each a named pass that checks the graph before and after."""

from voirs_vocoder.export.passes.constant_shapes import ConstantShapesPass
from voirs_vocoder.export.passes.conv2d_from_conv1d import Conv2dFromConv1dPass
from voirs_vocoder.export.passes.cosine_polynomials import CosFromPolynomialPass, PolynomialFromCosPass
from voirs_vocoder.export.passes.even_padding import EvenPaddingPass
from voirs_vocoder.export.passes.half_from_fp32 import HalfFromFp32Pass, bf16_from_fp32, fp16_from_fp32
from voirs_vocoder.export.passes.half_twin import HalfTwinPass, half_twin
from voirs_vocoder.export.passes.name_nodes import NameNodesPass
from voirs_vocoder.export.passes.run import run_passes
from voirs_vocoder.export.passes.set_model_metadata import SetModelMetadataPass
from voirs_vocoder.export.passes.strip_exporter_metadata import StripExporterMetadataPass
from voirs_vocoder.export.passes.undilated_conv2d import UndilatedConv2dPass

__all__ = [
    "ConstantShapesPass",
    "Conv2dFromConv1dPass",
    "CosFromPolynomialPass",
    "EvenPaddingPass",
    "HalfFromFp32Pass",
    "HalfTwinPass",
    "NameNodesPass",
    "PolynomialFromCosPass",
    "SetModelMetadataPass",
    "StripExporterMetadataPass",
    "UndilatedConv2dPass",
    "bf16_from_fp32",
    "fp16_from_fp32",
    "half_twin",
    "run_passes",
]
