"""The precisions that export makes: one row each. A new precision is one row, and the pass that makes its graphs.

Importable without torch and onnx: what makes and judges graphs is imported when it is called.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import msgspec

from voirs_vocoder.runtime.artifact.manifest import Precision, Target
from voirs_vocoder.runtime.artifact.records import Parameter
from voirs_vocoder.runtime.errors import InputError
from voirs_vocoder.runtime.progress import Progress

if TYPE_CHECKING:
    import onnx

    from voirs_vocoder.calibration.config import Int8Config
    from voirs_vocoder.export.graphs.built import BuiltGraph
    from voirs_vocoder.export.graphs.example_inputs import Feed

__all__ = [
    "Gate",
    "MakeOptions",
    "PrecisionSpec",
    "get_precision",
    "precision_names",
    "precision_of_model",
    "register_precision",
    "unregister_precision",
]


class Gate(msgspec.Struct, frozen=True):
    """A limit on one figure.

    Attributes:
        figure: Name of the figure, such as `snr_db`.
        bound: `max`: the figure must not exceed the limit; `min`: the figure must reach it.
        limit: The limit in the figure's unit.
    """

    figure: str
    bound: Literal["max", "min"]
    limit: float


@dataclass(frozen=True)
class MakeOptions:
    """How graphs of a reduced precision are made; a precision takes what concerns it.

    Attributes:
        targets: Kinds of backends to make graphs for; None makes a graph for every target of the precision.
        int8: How INT8 graphs are quantized; None takes the defaults of `Int8Config`.
        float_convolutions: Role of a graph to the names of the convolutions that stay float in INT8, as in
            `Int8Config.float_convolutions`; a graph of another role is quantized as `int8` states. None searches.
    """

    targets: tuple[Target, ...] | None = None
    int8: Int8Config | None = None
    float_convolutions: Mapping[str, tuple[str, ...]] | None = None

    def parameters(self) -> dict[str, Parameter]:
        """These options with their defaults, for the record of the command that was given them."""
        from voirs_vocoder.calibration.config import Int8Config

        int8 = dataclasses.asdict(self.int8 or Int8Config())
        layers = self.float_convolutions or {}
        return {
            "targets": self.targets,
            **{f"int8.{name}": value for name, value in int8.items()},
            **{f"float_convolutions.{role}": names for role, names in layers.items()},
        }


@dataclass(frozen=True)
class PrecisionSpec:
    """One precision.

    Attributes:
        name: Name in file names, manifests and options, such as `fp16`.
        gates: Target to the limits that `validate` holds a graph to, for one run of the network; the one target None
            stands for a precision whose graphs run on every backend.
        tf32_gates: Limits for the graphs where `SessionConfig.tf32` lets a GPU round factors to TF32; None for a
            precision that is not rounded to it.
        same_graph_snr_db: SNR in dB that one graph on two backends must reach, whose sums differ in their order.
        make: Makes the graphs of this precision from an FP32 graph, one per target; None for the precision that is
            exported from PyTorch itself.
        needs_calibration: Whether `make` must be given recordings.
        on_cpu: Turns a graph into the one that a CPU must run to show what this precision does to the audio; None where
            the graph itself shows it.
        on_cpu_title: What tables call such a graph, after the backend's name.
        ort_runs_it: Whether ONNX Runtime runs a graph on a CPU; where it does not, checks of a graph run the one that
            `on_cpu` makes of it.
        for_gpus: Whether graphs are meant for GPUs too, and must have kernels there.
        finish: Puts a graph of any role into its final form, after streams and batches were derived from it; None
            leaves it as it is.
        is_precision_of: Whether an ONNX model has this precision; the first row of the table that answers yes decides.
    """

    name: Precision
    gates: Mapping[Target | None, tuple[Gate, ...]]
    same_graph_snr_db: float
    make: Callable[[BuiltGraph, Sequence[Feed], MakeOptions, Progress], list[BuiltGraph]] | None
    needs_calibration: bool = False
    tf32_gates: tuple[Gate, ...] | None = None
    on_cpu: Callable[[bytes], bytes] | None = None
    on_cpu_title: str = ""
    ort_runs_it: bool = True
    for_gpus: bool = True
    finish: Callable[[BuiltGraph], BuiltGraph] | None = None
    is_precision_of: Callable[[onnx.ModelProto], bool] = field(default=lambda _: False)

    @property
    def targets(self) -> tuple[Target | None, ...]:
        """The kinds of backend with a graph of their own; `(None,)` where one graph serves all."""
        return tuple(self.gates)

    def gates_of(self, target: Target | None) -> tuple[Gate, ...]:
        """Gates of the graphs for a target.

        Args:
            target: Kind of backend that the graph is made for; None for a precision whose graphs run everywhere.

        Raises:
            InputError: The precision has no such target.
        """
        if target not in self.gates:
            known = ", ".join(str(each) for each in self.gates)
            raise InputError(
                f"graphs of precision {self.name} must have one of the targets {known}, got {target}"
            )
        return self.gates[target]


def get_precision(name: str) -> PrecisionSpec:
    """The row of a precision.

    Raises:
        InputError: The table has no such precision.
    """
    if name not in _table:
        near = difflib.get_close_matches(name, _table, 1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_table)}"
        raise InputError(f"precision must be one that export makes, got {name!r}; {hint}")
    return _table[name]


def precision_names() -> tuple[Precision, ...]:
    """Names of all precisions, FP32 first."""
    return tuple(_table)


def register_precision(spec: PrecisionSpec) -> None:
    """Add a precision to this process.

    Raises:
        InputError: The name is taken.
    """
    if spec.name in _table:
        raise InputError(f"a precision's name must be new, got {spec.name!r}; choose another one")
    _table[spec.name] = spec


def unregister_precision(name: str) -> None:
    """Remove a precision that `register_precision` added.

    Raises:
        InputError: The name is not one of a registered precision.
    """
    if name not in _table or name in {spec.name for spec in _BUILT_IN}:
        raise InputError(f"only a registered precision can be removed, got {name!r}")
    del _table[name]


def precision_of_model(model: onnx.ModelProto) -> Precision:
    """The precision that an ONNX model really has, regardless of the file's name; FP32 where no row recognizes it."""
    return next((spec.name for spec in _table.values() if spec.is_precision_of(model)), "fp32")


def _fp16(
    fp32: BuiltGraph, feeds: Sequence[Feed], options: MakeOptions, progress: Progress
) -> list[BuiltGraph]:
    del options
    from voirs_vocoder.export.graphs.reduced import fp16_graph

    progress(f"{fp32.entry.role}: converting to FP16", 0, 0)
    return [fp16_graph(fp32, feeds)]


def _fp16_finished(graph: BuiltGraph) -> BuiltGraph:
    from voirs_vocoder.export.graphs.reduced import with_2d_convolutions

    return with_2d_convolutions(graph)


def _half_on_cpu(data: bytes) -> bytes:
    from voirs_vocoder.export.passes import half_twin
    from voirs_vocoder.export.passes.read_model import read_model

    twin: bytes = half_twin(read_model(data, "the graph of 16 bits")).SerializeToString()
    return twin


def _bf16(
    fp32: BuiltGraph, feeds: Sequence[Feed], options: MakeOptions, progress: Progress
) -> list[BuiltGraph]:
    del options
    from voirs_vocoder.export.graphs.bf16 import bf16_graph

    return [bf16_graph(fp32, feeds, progress)]


def _has_fp16_weights(model: onnx.ModelProto) -> bool:
    import onnx

    return _has_weights(model, onnx.TensorProto.FLOAT16)


def _has_bf16_weights(model: onnx.ModelProto) -> bool:
    import onnx

    return _has_weights(model, onnx.TensorProto.BFLOAT16)


def _has_weights(model: onnx.ModelProto, element_type: int) -> bool:
    quantized = _has_quantizers(model)
    return not quantized and any(tensor.data_type == element_type for tensor in model.graph.initializer)


def _int8(
    fp32: BuiltGraph, feeds: Sequence[Feed], options: MakeOptions, progress: Progress
) -> list[BuiltGraph]:
    from voirs_vocoder.calibration.config import Int8Config
    from voirs_vocoder.export.graphs.reduced import int8_graphs

    known = [target for target in get_precision("int8").targets if target is not None]
    targets = known if options.targets is None else options.targets
    unknown = [target for target in targets if target not in known]
    if unknown:
        raise InputError(f"targets of INT8 must be among {', '.join(known)}, got {unknown[0]!r}")
    config = options.int8 or Int8Config()
    names = (options.float_convolutions or {}).get(fp32.entry.role)
    if names is not None:
        config = dataclasses.replace(config, float_convolutions=names)
    return int8_graphs(fp32, feeds, progress, targets, config)


def _int8_finished(graph: BuiltGraph) -> BuiltGraph:
    from voirs_vocoder.export.graphs.reduced import with_short_cosines

    # OpenVINO fuses the sums and products of a polynomial, so that its degree costs nothing there.
    return with_short_cosines(graph) if graph.entry.target == "cpu" else graph


def _has_quantizers(model: onnx.ModelProto) -> bool:
    return any(node.op_type == "DequantizeLinear" for node in model.graph.node)


# The limits follow what is inaudible (FP32, FP16), or what is a fair price for speed (INT8).
_BUILT_IN = (
    PrecisionSpec(
        name="fp32",
        gates={None: (Gate("max_abs_error", "max", 1e-4),)},
        # TF32 rounds factors to the 10 bits of mantissa that FP16 has.
        tf32_gates=(Gate("snr_db", "min", 50.0),),
        # Far below the 16 bits of a file.
        same_graph_snr_db=80.0,
        make=None,
    ),
    PrecisionSpec(
        name="fp16",
        gates={None: (Gate("snr_db", "min", 50.0),)},
        same_graph_snr_db=50.0,
        make=_fp16,
        # ONNX Runtime computes an FP16 graph on a CPU in FP32, where neither rounding nor overflow would show.
        on_cpu=_half_on_cpu,
        on_cpu_title="FP32 twin",
        # cuDNN has no kernel for some dilated 1-D convolutions in FP16, and fast ones for 2-D with channels last only.
        finish=_fp16_finished,
        is_precision_of=_has_fp16_weights,
    ),
    PrecisionSpec(
        name="bf16",
        # HiFi-GAN V2 reaches 38.4 dB in OpenVINO, where BF16 everywhere would give 25.0.
        gates={None: (Gate("snr_db", "min", 33.0), Gate("pesq_lost", "max", 0.015))},
        # OpenVINO rounds a convolution with the activation behind it once, the twin twice: 39 dB apart.
        same_graph_snr_db=33.0,
        make=_bf16,
        on_cpu=_half_on_cpu,
        on_cpu_title="FP32 twin",
        ort_runs_it=False,
        for_gpus=False,
        is_precision_of=_has_bf16_weights,
    ),
    PrecisionSpec(
        name="int8",
        gates={
            "cpu": (Gate("snr_db", "min", 22.0), Gate("pesq_lost", "max", 0.1)),
            "tensorrt": (Gate("snr_db", "min", 18.0), Gate("pesq_lost", "max", 0.15)),
        },
        # A different rounding moves a value to the next quantization step here and there.
        same_graph_snr_db=30.0,
        make=_int8,
        needs_calibration=True,
        finish=_int8_finished,
        is_precision_of=_has_quantizers,
    ),
)
_table: dict[str, PrecisionSpec] = {spec.name: spec for spec in _BUILT_IN}
