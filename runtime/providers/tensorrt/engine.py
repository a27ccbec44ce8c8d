"""The provider `tensorrt-engine`: runs an engine of either TensorRT flavor on the GPU that it was built for.

An engine is machine code. Run only engines whose origin you trust: the manifest's hash proves that a file is the one
that was built, not that it is harmless. Engines that contain host code are refused.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from voirs_vocoder.runtime.artifact.manifest import EngineEntry, Precision
from voirs_vocoder.runtime.artifact.reading import Artifact
from voirs_vocoder.runtime.config import SessionConfig
from voirs_vocoder.runtime.errors import InputError, ProviderError
from voirs_vocoder.runtime.providers.tensorrt.flavor import Flavor, load_flavor
from voirs_vocoder.runtime.providers.tensorrt.memory import Cuda, HeldArrays, load_cuda
from voirs_vocoder.runtime.providers.tensorrt.profile import largest_batch, largest_frames, nearest_profile
from voirs_vocoder.runtime.providers.tensorrt.protocol import TrtContext, TrtEngine, TrtModule

__all__ = ["EngineSession", "open_engine_session"]

_NAME = "tensorrt-engine"


class EngineSession:
    """A TensorRT engine, ready to run. Several threads may call it at the same time; the runs wait for each other.

    Attributes:
        provider: `tensorrt-engine`.
        backend: TensorRT library and version, such as `tensorrt-rtx 1.7.1`.
        max_frames: Longest input in mel frames that a profile takes; None when no input grows with the frames.
        max_batch: Most rows that a profile takes; None when no input has a dynamic batch axis.
        input_names: Names of the inputs, in the graph's order.
        output_names: Names of the outputs, in the graph's order.
    """

    def __init__(
        self,
        engine: bytes,
        entry: EngineEntry,
        *,
        device: int = 0,
        cuda_graphs: bool = True,
        flavor: Flavor | None = None,
        cuda: Cuda | None = None,
    ) -> None:
        """Load an engine. Version, host and GPU are checked before anything is allocated on the GPU.

        Args:
            engine: The verified bytes of the engine.
            entry: Manifest entry of the engine.
            device: Index of the GPU, from 0.
            cuda_graphs: Whether the kernels of each profile are recorded in a CUDA graph, which only TensorRT for RTX
                does.
            flavor: TensorRT library; None imports the library that the entry names.
            cuda: GPU to run on; None finds the GPU of index `device` through CUDA.

        Raises:
            ProviderError: The library is missing or of another version; the engine was built for another operating
                system, machine or GPU; there is no GPU; or the library refuses the engine.
        """
        self.provider = _NAME
        self.max_frames = largest_frames(entry)
        self.max_batch = largest_batch(entry)
        self.input_names = tuple(tensor.name for tensor in entry.inputs)
        self.output_names = tuple(tensor.name for tensor in entry.outputs)
        flavor = flavor or load_flavor(entry.backend)
        cuda = _suitable_gpu(entry, flavor, device, cuda)
        self.backend = f"{flavor.name} {flavor.version}"
        self._entry = entry
        self._log = flavor.log
        self._cuda_graphs = cuda_graphs
        self._cuda = cuda
        self._lock = threading.Lock()
        self._buffers: dict[str, tuple[int, int]] = {}
        self._held = HeldArrays(cuda)
        self._contexts: dict[int, TrtContext] = {}
        cuda.activate()
        self._module = module = cast(TrtModule, flavor.module)
        self._runtime = module.Runtime(flavor.logger)
        self._runtime.engine_host_code_allowed = False
        with self._log.capture() as messages:
            loaded = self._runtime.deserialize_cuda_engine(engine)
        if loaded is None:
            raise ProviderError(
                f"{self.backend} does not load {entry.file.path}: {self._log.errors(messages)}; build the engine again"
            )
        self._check_contents(loaded, module)
        self._engine: TrtEngine | None = loaded
        self._stream = cuda.create_stream()

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Run the engine once.

        Args:
            inputs: One array per input of the engine, of the element type that the manifest declares.

        Returns:
            One new float32 array per output of the engine.

        Raises:
            InputError: An input is missing, unknown or of another element type, or no profile takes the shapes.
            ProviderError: TensorRT or CUDA failed, or the session is closed.
        """
        outputs: dict[str, NDArray[np.float32]] = {}
        self._run_once(self._checked(inputs), {}, outputs, {})
        return outputs

    def bind(
        self,
        inputs: Mapping[str, NDArray[np.generic]],
        outputs: Mapping[str, NDArray[np.float32]],
        resident: Collection[str] = (),
    ) -> Callable[[], None]:
        """Prepare runs on fixed arrays; see `Session.bind` for arguments, result and errors."""
        arrays, results = self._checked(inputs), dict(outputs)
        with self._lock:
            self._require_open()
            self._cuda.activate()
            sources = {
                name: self._held.address(array, self._stream)
                for name, array in inputs.items()
                if name in resident or not array.flags.writeable
            }
            targets = {
                name: self._held.address(array, self._stream)
                for name, array in outputs.items()
                if name in resident
            }
        return lambda: self._run_once(arrays, sources, results, targets)

    def close(self) -> None:
        """Free the device memory, contexts and engine; the session cannot run afterwards. Closing twice is harmless."""
        with self._lock:
            if self._engine is None:
                return
            self._cuda.activate()
            self._cuda.synchronize(self._stream)
            self._contexts.clear()
            self._engine = None
            self._held.free()
            while self._buffers:
                self._cuda.free(self._buffers.popitem()[1][0])
            self._cuda.destroy_stream(self._stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run_once(
        self,
        arrays: Mapping[str, NDArray[np.generic]],
        sources: Mapping[str, int],
        outputs: dict[str, NDArray[np.float32]],
        targets: Mapping[str, int],
    ) -> None:
        """Run the engine once; its inputs and outputs are at the same addresses of the GPU in every run.

        Args:
            arrays: Array of each input.
            sources: Addresses on the GPU of the inputs that are not copied from their arrays.
            outputs: Array of each output; one that is missing is made and added.
            targets: Addresses on the GPU for the outputs that are not copied to their arrays.
        """
        index = nearest_profile(self._entry.profiles, {name: array.shape for name, array in arrays.items()})
        with self._lock, self._log.capture() as messages:
            self._cuda.activate()
            self._held.free_released()
            context = self._context(index, messages)
            for name, array in arrays.items():
                done = context.set_input_shape(name, array.shape)
                self._require(done, f"set_input_shape of {name} to {array.shape}", messages)
            for name in self.output_names:
                shape = self._output_shape(context, name)
                if name not in outputs:
                    outputs[name] = np.empty(shape, np.float32)
                elif outputs[name].shape != shape:
                    raise ProviderError(
                        f"{self._entry.file.path}: output {name} must be {list(outputs[name].shape)}, got "
                        f"{list(shape)}; build it again"
                    )
            for name, array in (*arrays.items(), *outputs.items()):
                address = self._buffer(name, array.nbytes)
                done = context.set_tensor_address(name, address)
                self._require(done, f"set_tensor_address of {name}", messages)
            try:
                for name, array in arrays.items():
                    address = self._buffers[name][0]
                    if name in sources:
                        self._cuda.copy_within(address, sources[name], array.nbytes, self._stream)
                    else:
                        self._cuda.copy_to_device(address, array, self._stream)
                self._require(context.execute_async_v3(self._stream), "execute_async_v3", messages)
                for name, array in outputs.items():
                    address = self._buffers[name][0]
                    if name in targets:
                        self._cuda.copy_within(targets[name], address, array.nbytes, self._stream)
                    else:
                        self._cuda.copy_to_host(array, address, self._stream)
            finally:
                # After an error too: copies that are still under way use the arrays.
                self._cuda.synchronize(self._stream)

    def _check_contents(self, engine: TrtEngine, module: TrtModule) -> None:
        names = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
        expected = {*self.input_names, *self.output_names}
        if names != expected or engine.num_optimization_profiles != len(self._entry.profiles):
            raise ProviderError(
                f"{self._entry.file.path} has tensors {_listed(names)} and {engine.num_optimization_profiles} "
                f"profiles, its manifest states {_listed(expected)} and {len(self._entry.profiles)}; build it again"
            )
        types = {"float32": module.DataType.FLOAT, "int64": module.DataType.INT64}
        for tensor in (*self._entry.inputs, *self._entry.outputs):
            if engine.get_tensor_dtype(tensor.name) != types[tensor.dtype]:
                raise ProviderError(
                    f"{self._entry.file.path}: {tensor.name} must be {tensor.dtype} as its manifest states, got "
                    f"{engine.get_tensor_dtype(tensor.name)}; build it again"
                )

    def _checked(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        if set(inputs) != set(self.input_names):
            raise InputError(f"the engine takes {_listed(self.input_names)}, got {_listed(inputs)}")
        for tensor in self._entry.inputs:
            if inputs[tensor.name].dtype != np.dtype(tensor.dtype):
                raise InputError(
                    f"{tensor.name} must be {tensor.dtype}, got {inputs[tensor.name].dtype}; convert it first"
                )
        return {name: np.ascontiguousarray(inputs[name]) for name in self.input_names}

    def _context(self, index: int, messages: list[tuple[str, str]]) -> TrtContext:
        """The context of a profile, made at its first use; it allocates memory for that profile only."""
        engine = self._require_open()
        if index not in self._contexts:
            context = engine.create_execution_context(self._context_settings(engine))
            if context is None:
                raise ProviderError(f"{self.backend} makes no context: {self._log.errors(messages)}")
            done = context.set_optimization_profile_async(index, self._stream)
            self._require(done, f"set_optimization_profile_async to {index}", messages)
            self._contexts[index] = context
        return self._contexts[index]

    def _require_open(self) -> TrtEngine:
        if self._engine is None:
            raise ProviderError("the session is closed; load the engine again")
        return self._engine

    def _context_settings(self, engine: TrtEngine) -> Any:
        """Memory for one profile only; TensorRT for RTX records the kernels of a run in a CUDA graph by itself."""
        allocation = self._module.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        graphs = getattr(self._module, "CudaGraphStrategy", None)
        if graphs is None or not self._cuda_graphs:
            return allocation
        settings = engine.create_runtime_config()
        settings.set_execution_context_allocation_strategy(allocation)
        settings.cuda_graph_strategy = graphs.WHOLE_GRAPH_CAPTURE
        return settings

    def _output_shape(self, context: TrtContext, name: str) -> tuple[int, ...]:
        shape = tuple(context.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            raise ProviderError(
                f"{self.backend} does not know the shape of {name} before running, only {shape}; "
                "export a graph whose output length follows from its input"
            )
        return shape

    def _buffer(self, name: str, size_bytes: int) -> int:
        """Device memory for a tensor, kept from call to call and replaced when it is too small."""
        address, capacity_bytes = self._buffers.get(name, (0, 0))
        if capacity_bytes < size_bytes:
            if name in self._buffers:
                self._cuda.free(self._buffers.pop(name)[0])
            address = self._cuda.allocate(size_bytes)
            self._buffers[name] = (address, size_bytes)
        return address

    def _require(self, done: bool, call: str, messages: list[tuple[str, str]]) -> None:
        if not done:
            raise ProviderError(f"{self.backend} failed in {call}: {self._log.errors(messages)}")


def open_engine_session(
    artifact: Artifact, role: str, precision: Precision, config: SessionConfig
) -> EngineSession:
    """Load the engine of an artifact that fits this machine's TensorRT and GPU.

    Args:
        artifact: The opened artifact.
        role: Role of the graph, such as `offline`.
        precision: Precision of the graph, such as `fp16`.
        config: Index of the GPU, and whether CUDA graphs are used; the session uses none of the other fields.

    Returns:
        A session of the first engine that fits.

    Raises:
        ProviderError: The artifact has no engine of that role and precision, or none fits this machine; the message
            gives the reason of each engine.
        ArtifactError: The file is missing or damaged.
    """
    reasons = []
    for entry in artifact.engines(role, precision):
        try:
            _suitable_gpu(entry, load_flavor(entry.backend), config.device, None)
        except ProviderError as error:
            reasons.append(str(error))
            continue
        return EngineSession(
            artifact.read(entry.file), entry, device=config.device, cuda_graphs=config.cuda_graphs
        )
    if not reasons:
        reasons = [f"the artifact has no {role} {precision} engine; make one with voirs-vocoder build-engine"]
    raise ProviderError(f"no engine for provider {_NAME!r}: {'; '.join(dict.fromkeys(reasons))}")


def _suitable_gpu(entry: EngineEntry, flavor: Flavor, device: int, cuda: Cuda | None) -> Cuda:
    """The GPU, when host, library and GPU are what the engine was built for."""
    _check_host(entry, flavor)
    if cuda is None:
        try:
            cuda = load_cuda(device)
        except ProviderError as error:
            raise ProviderError(f"provider {_NAME!r} needs an NVIDIA GPU and driver: {error}") from error
    capability = cuda.compute_capability()
    if capability not in entry.compute_capabilities:
        raise ProviderError(
            f"{entry.file.path} was built for compute capabilities {_listed(entry.compute_capabilities)}, "
            f"GPU {cuda.device} ({cuda.gpu_name()}) has {capability}; build an engine for it"
        )
    return cuda


def _check_host(entry: EngineEntry, flavor: Flavor) -> None:
    built_and_here = {
        "backend": (entry.backend, flavor.name),
        "version": (entry.backend_version, flavor.version),
        "CUDA": (entry.cuda_version, flavor.cuda_version),
        "operating system": (entry.operating_system, platform.system().lower()),
        "machine": (entry.machine, platform.machine()),
    }
    different = [f"{what} {a} (here {b})" for what, (a, b) in built_and_here.items() if a != b]
    if different:
        raise ProviderError(
            f"{entry.file.path} was built for {', '.join(different)}; an engine runs only where its "
            "versions match: build one here with voirs-vocoder build-engine"
        )


def _listed(values: Iterable[object]) -> str:
    return ", ".join(sorted(map(str, values)))
