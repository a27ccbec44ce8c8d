"""An engine from an ONNX graph: one code path for both flavors, strongly typed, so the graph sets the precision."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path
from typing import Any, cast

import onnx

from voirs_vocoder.export.errors import ExportError
from voirs_vocoder.export.passes.read_model import read_model
from voirs_vocoder.export.precisions import precision_of_model
from voirs_vocoder.export.tensorrt.config import EngineConfig
from voirs_vocoder.export.tensorrt.protocol import BuilderModule, TrtBuilder, TrtBuilderConfig
from voirs_vocoder.export.tensorrt.shapes import profile_from_inputs, tensors_from_onnx
from voirs_vocoder.runtime.artifact.manifest import EngineEntry, FileEntry, Precision, Profile
from voirs_vocoder.runtime.providers.tensorrt.flavor import Flavor, load_flavor
from voirs_vocoder.runtime.providers.tensorrt.memory import load_cuda

__all__ = ["engine_filename", "engine_from_onnx"]


def engine_filename(
    role: str, precision: Precision, backend: str, compute_capabilities: tuple[int, ...]
) -> str:
    """Name of an engine's file in the artifact's `engines/`, such as `offline.fp16.tensorrt-rtx.sm86-sm120.engine`."""
    gpus = "-".join(f"sm{value}" for value in compute_capabilities)
    return f"{role}.{precision}.{backend}.{gpus}.engine"


def engine_from_onnx(
    onnx_path: Path,
    config: EngineConfig,
    *,
    role: str,
    precision: Precision,
    hop_length: int,
    kept_float: bool = False,
    graph: bytes | None = None,
) -> tuple[bytes, EngineEntry]:
    """Build an engine.

    Two builds of one graph may differ: for HiFi-GAN V2 in a few hundred bytes, which hold names that the library's
    compiler numbers as it goes. The entry's hash identifies this engine, which no later build reproduces.

    Args:
        onnx_path: A graph with its weights inside the file, whose dynamic axes are named as for `profile_from_inputs`.
        config: TensorRT library, GPUs and shapes to build for.
        role: Role of the graph in the artifact.
        precision: Precision of the graph; it is compared with the tensors of the graph.
        hop_length: Audio samples per mel frame.
        kept_float: True for an INT8 graph in which nothing was quantized.
        graph: Content of the file, which the caller has read and verified; None reads the file.

    Returns:
        The engine's bytes and its complete manifest entry.

    Raises:
        ProviderError: The library is not installed, or `tensorrt` finds no GPU.
        ArtifactError: The graph is no valid ONNX model of standard operators.
        ExportError: The graph is of another precision, TensorRT refuses it, or the build fails.
    """
    flavor = load_flavor(config.backend)
    # TensorRT for RTX receives a list of GPUs and examines none, which makes builds with and without one the same.
    cuda = load_cuda() if config.backend == "tensorrt" else None
    capabilities = (cuda.compute_capability(),) if cuda else config.compute_capabilities
    if graph is None:
        graph = onnx_path.read_bytes()
    model = read_model(graph, str(onnx_path))
    _check_precision(model, "fp32" if kept_float else precision, onnx_path)
    _check_no_uint8(model, onnx_path)
    inputs = tensors_from_onnx(list(model.graph.input))
    outputs = tensors_from_onnx(list(model.graph.output))
    profiles = tuple(profile_from_inputs(inputs, profile, hop_length) for profile in config.profiles)
    if cuda:
        cuda.activate()
    engine, flags = _build(flavor, graph, onnx_path.stem, config, profiles)
    name = engine_filename(role, precision, config.backend, capabilities)
    entry = EngineEntry(
        role=role,
        precision=precision,
        backend=flavor.name,
        backend_version=flavor.version,
        cuda_version=flavor.cuda_version,
        operating_system=platform.system().lower(),
        machine=platform.machine(),
        compute_capabilities=capabilities,
        gpu_name=cuda.gpu_name() if cuda else None,
        driver_version=cuda.driver_version() if cuda else None,
        flags=flags,
        profiles=profiles,
        inputs=inputs,
        outputs=outputs,
        hop_length=hop_length,
        graph_sha256=hashlib.sha256(graph).hexdigest(),
        file=FileEntry(
            path=f"engines/{name}", sha256=hashlib.sha256(engine).hexdigest(), size_bytes=len(engine)
        ),
    )
    return engine, entry


def _build(
    flavor: Flavor, graph: bytes, name: str, config: EngineConfig, profiles: tuple[Profile, ...]
) -> tuple[bytes, tuple[str, ...]]:
    """Build; returns the engine and the names of the builder flags that were set."""
    module = cast(BuilderModule, flavor.module)
    builder = module.Builder(flavor.logger)
    # TensorRT 11 and RTX know nothing else; in TensorRT 10 networks are weakly typed by default.
    network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    network.name = name
    # This variable lives until the end: the network refers to weights that the parser keeps.
    parser = module.OnnxParser(network, flavor.logger)
    if not parser.parse(graph):
        raise ExportError(f"{name}: {flavor.name} does not take the graph: {_parser_errors(parser)}")
    settings = builder.create_builder_config()
    _apply(config, module, settings)
    _add_profiles(builder, settings, network, profiles)
    with flavor.log.capture() as messages:
        engine = builder.build_serialized_network(network, settings)
    if engine is None:
        raise ExportError(f"{name}: {flavor.name} builds no engine: {flavor.log.errors(messages)}")
    flags = module.BuilderFlag.__members__
    return bytes(engine), tuple(flag for flag, value in flags.items() if settings.get_flag(value))


def _parser_errors(parser: Any) -> str:
    errors = map(parser.get_error, range(parser.num_errors))
    return "; ".join(
        f"node {error.node_name()!r} ({error.node_operator()}): {' '.join(error.desc().split())}"
        for error in errors
    )


def _apply(config: EngineConfig, module: BuilderModule, settings: TrtBuilderConfig) -> None:
    # TF32 is on unless cleared.
    (settings.set_flag if config.tf32 else settings.clear_flag)(module.BuilderFlag.TF32)
    if config.workspace_bytes is not None:
        settings.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, config.workspace_bytes)
    if not config.compute_capabilities:
        return
    settings.num_compute_capabilities = len(config.compute_capabilities)
    for index, value in enumerate(config.compute_capabilities):
        known = module.ComputeCapability.__members__
        if f"SM{value}" not in known or not settings.set_compute_capability(known[f"SM{value}"], index):
            raise ExportError(
                f"the installed {config.backend} does not build for compute capability {value}; "
                f"it knows {', '.join(name for name in known if name.startswith('SM'))}"
            )


def _add_profiles(
    builder: TrtBuilder, settings: TrtBuilderConfig, network: Any, profiles: tuple[Profile, ...]
) -> None:
    shape_inputs = [
        tensor.name for tensor in map(network.get_input, range(network.num_inputs)) if tensor.is_shape_tensor
    ]
    if shape_inputs:
        raise ExportError(
            f"the values of input {', '.join(shape_inputs)} decide shapes, which engines of this project do not "
            "support; export a graph whose shapes follow from its inputs' shapes"
        )
    for profile in profiles:
        ranges = builder.create_optimization_profile()
        for name, minimum in profile.minimum.items():
            ranges.set_shape(name, minimum, profile.optimum[name], profile.maximum[name])
        if settings.add_optimization_profile(ranges) < 0:
            raise ExportError(
                f"TensorRT refuses the profile {profile}; its shapes must fit the graph's inputs"
            )


def _check_precision(model: onnx.ModelProto, precision: Precision, onnx_path: Path) -> None:
    """A strongly typed engine has the precision of its graph; the name of the file does not count."""
    actual = precision_of_model(model)
    if actual != precision:
        raise ExportError(
            f"{onnx_path.name} is an {actual} graph, not {precision}; build from the {precision} graph"
        )


def _check_no_uint8(model: onnx.ModelProto, onnx_path: Path) -> None:
    """The parser reads UINT8 as INT8: with a warning where a zero point is UINT8, silently where none is given."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.value_info}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    reinterpreted = [name for name, kind in types.items() if kind == onnx.TensorProto.UINT8]
    if reinterpreted:
        raise ExportError(
            f"{onnx_path.name}: TensorRT would read UINT8 as INT8 in {', '.join(reinterpreted[:4])}; "
            "use the graph quantized for TensorRT (int8.tensorrt)"
        )
