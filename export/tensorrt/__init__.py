"""TensorRT engines from ONNX graphs, in both flavors: `config` describes the engine, `builder` builds it."""

from voirs_vocoder.export.tensorrt.builder import engine_filename, engine_from_onnx
from voirs_vocoder.export.tensorrt.config import (
    DEFAULT_PROFILES,
    RTX_COMPUTE_CAPABILITIES,
    EngineConfig,
    ProfileConfig,
)

__all__ = [
    "DEFAULT_PROFILES",
    "RTX_COMPUTE_CAPABILITIES",
    "EngineConfig",
    "ProfileConfig",
    "engine_filename",
    "engine_from_onnx",
]
