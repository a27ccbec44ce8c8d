"""Graphs that others made: what they may contain, and what becomes of results that are not what the manifest states."""

from __future__ import annotations

import copy
import io
import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from voirs_vocoder.export.artifact.writer import create_artifact, file_entry
from voirs_vocoder.runtime import (
    Artifact,
    ArtifactError,
    InputError,
    ProviderError,
    SessionConfig,
    Vocoder,
    VoirsVocoderError,
    providers,
)
from voirs_vocoder.runtime.artifact.graph_rules import check_graph
from voirs_vocoder.runtime.artifact.manifest import (
    FORMAT_VERSION,
    GraphEntry,
    GraphFacts,
    Manifest,
    Source,
    TensorInfo,
)
from voirs_vocoder.runtime.artifact.split_graph import split_graph
from voirs_vocoder.runtime.artifact.wire import bytes_field, decoded_varint, encoded_varint, fields
from voirs_vocoder.runtime.mel.convention import MelConvention
from voirs_vocoder.runtime.providers import Provider, get_provider, open_session, register_provider
from voirs_vocoder.runtime.providers.checked import CheckedSession
from voirs_vocoder.runtime.streaming.graph_stream import GraphStream, StreamGraph

BANDS, HOP, STATE_SIZE = 3, 4, 5
MEL = np.full((BANDS, 20), -5.0, np.float32)
CONVENTION = MelConvention(
    id="tiny", sample_rate=8000, n_fft=16, win_length=16, hop_length=HOP, n_mels=BANDS, f_min_hz=0.0, f_max_hz=4000.0,
    framing="hop-aligned", mel_scale="slaney", mel_norm="slaney", compression="ln", floor=1e-5,
)  # fmt: skip
MEL_INFO = TensorInfo(name="mel", dtype="float32", shape=("batch", BANDS, "frames"))
AUDIO_INFO = TensorInfo(name="audio", dtype="float32", shape=("batch", 1, f"frames*{HOP}"))


def constant(values, name):
    return numpy_helper.from_array(np.asarray(values), name)


def audio_nodes(repeats=HOP):
    """Nodes from mel [1, bands, frames] to audio [1, 1, frames * repeats]: the mean of each frame, repeated."""
    nodes = [
        helper.make_node("ReduceMean", ["mel", "bands"], ["mean"], keepdims=1),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Expand", ["column", "repeats"], ["block"]),
        helper.make_node("Reshape", ["block", "flat"], ["audio"]),
    ]
    values = [
        constant([1], "bands"),
        constant([3], "last"),
        constant([1, 1, 1, repeats], "repeats"),
        constant([1, 1, -1], "flat"),
    ]
    return nodes, values


def model(nodes, values=(), *, output="audio", output_type=TensorProto.FLOAT, stream=False):
    """An offline graph, or a stream graph that keeps its state as it is."""
    nodes = list(nodes)
    inputs = [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", BANDS, "frames"])]
    outputs = [helper.make_tensor_value_info(output, output_type, ["batch", 1, "samples"])]
    if stream:
        inputs += [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch"]) for name in ("begin", "end")
        ]
        inputs.append(helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", STATE_SIZE]))
        outputs.append(helper.make_tensor_value_info("next_state", TensorProto.FLOAT, ["batch", STATE_SIZE]))
        nodes.append(helper.make_node("Identity", ["state"], ["next_state"]))
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(values))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def entry(data, role="offline", **changes):
    stream = role == "stream"
    begin, end = (TensorInfo(name=name, dtype="int64", shape=("batch",)) for name in ("begin", "end"))
    state, following = (
        TensorInfo(name=name, dtype="float32", shape=("batch", STATE_SIZE))
        for name in ("state", "next_state")
    )
    known = {
        "role": role,
        "precision": "fp32",
        "target": None,
        "file": file_entry(f"graphs/{role}.fp32.onnx", data),
        "opset": 20,
        "inputs": (MEL_INFO, begin, end, state) if stream else (MEL_INFO,),
        "outputs": (AUDIO_INFO, following) if stream else (AUDIO_INFO,),
        "facts": GraphFacts(
            activation_bytes_per_frame=1000,
            delay_samples=0 if stream else None,
            state_size=STATE_SIZE if stream else None,
        ),
        "details": {},
    }
    return GraphEntry(**{**known, **changes})


def manifest_of(*entries):
    return Manifest(
        format_version=FORMAT_VERSION, family="test", driver="direct", variant="custom", sample_rate=8000,
        hop_length=HOP, mel=CONVENTION, context_frames=1, look_ahead_frames=1, look_ahead_samples=4,
        source=Source(checkpoint_sha256=None, config={}), licence=None, graphs=entries, tools={},
    )  # fmt: skip


@pytest.fixture
def artifact_of(tmp_path):
    """Makes an artifact of the bytes of an offline graph and, if need be, of a stream graph."""

    def make(offline, stream=None, **changes):
        graphs = {"offline": offline} | ({} if stream is None else {"stream": stream})
        entries = [entry(data, role, **changes) for role, data in graphs.items()]
        files = {e.file.path: graphs[e.role] for e in entries}
        return create_artifact(tmp_path / "artifact", manifest_of(*entries), files, force=True).root

    return make


GOOD = model(*audio_nodes())
GOOD_STREAM = model(*audio_nodes(), stream=True)


@pytest.fixture(params=["cpu", "openvino"])
def provider(request):
    problem = get_provider(request.param).problem()
    if problem:
        pytest.skip(problem)
    return request.param


def test_a_graph_that_keeps_to_its_manifest_runs(artifact_of, provider):
    root = artifact_of(GOOD.SerializeToString(), GOOD_STREAM.SerializeToString())
    with Vocoder.load(root, provider=provider) as vocoder:
        assert vocoder.vocode(MEL).samples.shape == (1, 20 * HOP)
        if provider == "openvino":
            return  # it drops the inputs that this stream graph does not use
        pieces = [piece.samples for piece in vocoder.vocode_stream([MEL[:, :7], MEL[:, 7:]])]
        assert np.concatenate(pieces, axis=1).shape == (1, 20 * HOP)


def both_ways(root, provider):
    with Vocoder.load(root, provider=provider) as vocoder:
        vocoder.vocode(MEL)
        list(vocoder.vocode_stream([MEL[:, :7], MEL[:, 7:]]))


def with_last_node(node, *values, **changes):
    nodes, constants = audio_nodes(changes.pop("repeats", HOP))
    nodes[-1].output[0] = "made"
    return [*nodes, node], [*constants, *values], changes


WRONG_RESULTS = {
    "short": (*audio_nodes(HOP - 1), {}),
    "one value per frame": (
        [helper.make_node("ReduceMean", ["mel", "bands"], ["audio"])],
        [constant([1], "bands")],
        {},
    ),
    "long": with_last_node(helper.make_node("Concat", ["made", "made"], ["audio"], axis=2)),
    "another rank": with_last_node(
        helper.make_node("Squeeze", ["made", "axis"], ["audio"]), constant([1], "axis")
    ),
    "nan": with_last_node(
        helper.make_node("Mul", ["made", "nan"], ["audio"]), constant(np.float32("nan"), "nan")
    ),
    "infinity": with_last_node(
        helper.make_node("Add", ["made", "inf"], ["audio"]), constant(np.float32("inf"), "inf")
    ),
    "double": with_last_node(
        helper.make_node("Cast", ["made"], ["audio"], to=TensorProto.DOUBLE), output_type=TensorProto.DOUBLE
    ),
    "int64": with_last_node(
        helper.make_node("Cast", ["made"], ["audio"], to=TensorProto.INT64), output_type=TensorProto.INT64
    ),
    "another name": with_last_node(helper.make_node("Identity", ["made"], ["sound"]), output="sound"),
    "the constant of another length": ([], [constant(np.ones((1, 1, 7), np.float32), "audio")], {}),
    "of a fixed length": with_last_node(
        helper.make_node("Slice", ["made", "start", "stop", "axis"], ["audio"]),
        constant([0], "start"),
        constant([3], "stop"),
        constant([2], "axis"),
    ),
}


@pytest.mark.parametrize("case", WRONG_RESULTS)
def test_results_that_the_manifest_does_not_state_never_become_audio(artifact_of, provider, case):
    nodes, values, changes = WRONG_RESULTS[case]
    wrong, wrong_stream = (
        model(nodes, values, stream=stream, **changes).SerializeToString() for stream in (False, True)
    )
    good, good_stream = GOOD.SerializeToString(), GOOD_STREAM.SerializeToString()
    for offline, stream in ((wrong, good_stream), (good, wrong_stream)):
        root = artifact_of(offline, stream)
        with pytest.raises((ArtifactError, ProviderError)) as caught:
            both_ways(root, provider)
        assert "\n" not in str(caught.value)


def test_a_batch_of_another_shape_fails_every_utterance(artifact_of):
    """The rows of a batch are cut to their lengths, so a wrong length could pass as right."""
    nodes, values, _ = WRONG_RESULTS["long"]
    root = artifact_of(model(nodes, values).SerializeToString())
    with Vocoder.load(root) as vocoder, pytest.raises(VoirsVocoderError):
        vocoder.vocode_batch([MEL, MEL[:, :3]])


class Lying:
    """A backend that returns and writes fixed arrays and runs no graph."""

    provider, backend, max_frames = "lying", "lying 1.0", None

    def __init__(self, results):
        self.results = results

    def run(self, inputs):
        return self.results

    def bind(self, inputs, outputs, resident=()):
        def run():
            for name, values in self.results.items():
                outputs[name].reshape(-1)[: values.size] = values.reshape(-1)

        return run

    def close(self):
        pass


RIGHT = np.ones((1, 1, 20 * HOP), np.float32)


@pytest.mark.parametrize(
    "results",
    [
        {},
        {"audio": RIGHT[..., :-1]},
        {"audio": RIGHT.astype(np.float64)},
        {"audio": RIGHT[0]},
        {"sound": RIGHT},
    ],
    ids=["nothing", "short", "double", "another rank", "another name"],
)
def test_a_registered_provider_is_checked_too(artifact_of, monkeypatch, results):
    monkeypatch.setattr(providers, "_registered", {})
    register_provider(
        Provider(
            name="lying",
            on_gpu=False,
            problem=lambda: None,
            backend=lambda: "lying 1.0",
            open_graph=lambda graph, entry, config: Lying(results),
        )
    )
    vocoder = Vocoder.load(artifact_of(GOOD.SerializeToString()), provider="lying")
    with pytest.raises(ProviderError, match="audio must be float32"):
        vocoder.vocode(MEL)


def test_a_bound_run_that_does_not_write_every_value_is_an_error():
    graph = entry(b"")
    session = CheckedSession(Lying({"audio": RIGHT[..., :-1]}), graph, HOP)
    output = np.zeros_like(RIGHT)
    run = session.bind({"mel": MEL[np.newaxis]}, {"audio": output})
    with pytest.raises(ProviderError, match="too few values"):
        run()


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"mel": MEL},
        {"mel": MEL[np.newaxis, :-1]},
        {"mel": MEL[np.newaxis].astype(np.float64)},
        {"noise": MEL[np.newaxis]},
        {"mel": MEL[np.newaxis], "more": MEL},
    ],
)
def test_inputs_that_the_manifest_does_not_state_are_refused(inputs):
    with pytest.raises(InputError, match=r"takes mel float32 \['batch', 3, 'frames'\], got"):
        CheckedSession(Lying({"audio": RIGHT}), entry(b""), HOP).run(inputs)


def test_an_output_that_is_an_input_is_refused():
    """ONNX Runtime would leave the array that is bound to it as it was."""
    with pytest.raises(ArtifactError, match="an output must not be an input, got 'mel'"):
        CheckedSession(Lying({}), entry(b"", outputs=(MEL_INFO,)), HOP)


def test_a_stream_allocates_nothing_for_the_checks(tiny_artifact):
    """The state arrays of a stream are those that the graph was bound to, before and after a run."""
    artifact = Artifact.open(tiny_artifact)
    session, graph = open_session(artifact, "stream", "fp32", "cpu", SessionConfig())
    stream = GraphStream(StreamGraph(session, graph, artifact.manifest.hop_length))
    first = stream.push(3)
    assert stream.push(3).base is first.base
    session.close()


# What a graph may contain.


def changed(change):
    copied = copy.deepcopy(GOOD)
    change(copied)
    return copied.SerializeToString()


def add_external(m):
    tensor = m.graph.initializer.add(name="w", data_type=1, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/hostname")


def add_loop(m):
    body = helper.make_graph([], "body", [], [])
    m.graph.node.append(helper.make_node("Loop", ["", "", ""], ["o"], body=body))


def add_hidden_graph(m):
    """A graph in an attribute of an operator that has none."""
    m.graph.node[0].attribute.append(helper.make_attribute("body", helper.make_graph([], "body", [], [])))


def add_function(m):
    m.functions.append(helper.make_function("d", "F", ["x"], ["y"], [], [helper.make_opsetid("", 20)]))


REFUSED = {
    "external data": (add_external, "external data"),
    "external data without a location": (
        lambda m: m.graph.initializer[0].external_data.add(key="k"),
        "external data",
    ),
    "external data in a constant": (
        lambda m: m.graph.node[0].attribute.append(
            helper.make_attribute("value", TensorProto(name="w", data_location=TensorProto.EXTERNAL))
        ),
        "external data",
    ),
    "a loop": (add_loop, "the operator Loop|a graph in an attribute"),
    "a graph in an attribute": (add_hidden_graph, "a graph in an attribute"),
    "another domain": (
        lambda m: setattr(m.graph.node[0], "domain", "com.microsoft"),
        "the domain 'com.microsoft'",
    ),
    "an import of another domain": (lambda m: m.opset_import.add(domain="x\x1b[31m"), "the domain"),
    "a function": (add_function, "functions"),
    "training information": (lambda m: m.training_info.add(), "training information"),
    "sparse weights": (lambda m: m.graph.sparse_initializer.add(), "sparse weights"),
    "texts": (lambda m: m.graph.initializer.append(constant(np.array(["a"], object), "t")), "texts"),
    "too many axes": (lambda m: m.graph.initializer[0].dims.extend([1] * 17), "at most 16 axes"),
    "too many nodes": (
        lambda m: m.graph.node.extend([helper.make_node("Abs", ["x"], ["y"])] * (1 << 15)),
        "at most 32768 nodes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_graph_must_not_contain_is_refused_before_a_backend_gets_it(artifact_of, provider, case):
    change, message = REFUSED[case]
    data = changed(change)
    with pytest.raises(ArtifactError, match=message) as caught:
        check_graph(data)
    assert "\x1b" not in str(caught.value)
    with pytest.raises(ArtifactError, match=message):
        split_graph(io.BytesIO(data), len(data))
    root = artifact_of(data)
    with pytest.raises(ArtifactError, match=rf"graphs/offline\.fp32\.onnx: .*({message})"):
        Vocoder.load(root, provider=provider)


def test_a_field_that_onnx_does_not_have_is_refused():
    with pytest.raises(ArtifactError, match="field 99 of a model"):
        check_graph(GOOD.SerializeToString() + bytes_field(99, b"x"))


def test_the_format_of_onnx_runtime_is_refused():
    """Its mark may stand in a valid ONNX model, which ONNX Runtime would read as its own format."""
    data = bytes_field(2, b"\0\0ORTM") + GOOD.SerializeToString()
    assert data[4:8] == b"ORTM"
    for read in (check_graph, lambda d: split_graph(io.BytesIO(d), len(d))):
        with pytest.raises(ArtifactError, match="the format of ONNX Runtime"):
            read(data)


def test_every_graph_that_is_made_here_is_allowed(tiny_artifact, data_dir):
    for root in (tiny_artifact, data_dir / "frozen_artifact_v1" / "artifact"):
        artifact = Artifact.open(root)
        for graph in artifact.manifest.graphs:
            data = artifact.read_graph(graph)
            assert artifact.read_split(graph.file).rules == check_graph(data)


def test_declared_inputs_and_outputs_are_found():
    rules = check_graph(GOOD_STREAM.SerializeToString())
    found = [(tensor.name, tensor.dtype, tensor.shape) for tensor in (*rules.inputs, *rules.outputs)]
    assert found == [
        ("mel", "float32", (None, BANDS, None)),
        ("begin", "int64", (None,)),
        ("end", "int64", (None,)),
        ("state", "float32", (None, STATE_SIZE)),
        ("audio", "float32", (None, 1, None)),
        ("next_state", "float32", (None, STATE_SIZE)),
    ]


def verdict(read):
    try:
        return read()
    except ArtifactError:
        return None


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_mutated_graph_is_judged_alike_whole_and_in_pieces(data):
    """A weight large enough to be read in pieces is among what is mutated."""
    original = bytearray(LARGE)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, 400) | st.integers(len(original) - 400, len(original) - 1))
        original[place] = data.draw(st.integers(0, 255))
    mutated = bytes(original)
    whole = verdict(lambda: check_graph(mutated))
    split = verdict(lambda: split_graph(io.BytesIO(mutated), len(mutated)))
    # In pieces, a weight must also have as many values as its shape has places.
    assert split is None or split.rules == whole


LARGE = model(*audio_nodes()).SerializeToString() + bytes_field(
    7, bytes_field(5, constant(np.ones((130, 130), np.float32), "large").SerializeToString())
)


@given(value=st.integers(0, (1 << 64) - 1))
def test_numbers_come_back_as_they_were_encoded(value):
    encoded = encoded_varint(value)
    assert decoded_varint(encoded + b"\x80", 0, len(encoded) + 1) == (value, len(encoded))


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_fields_or_an_artifact_error(data):
    ends = verdict(lambda: [end for *_, end in fields(data)])
    assert ends is None or ends == sorted(ends)


# What the manifest states against what the graph and the driver need.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"inputs": (msgspec.structs.replace(MEL_INFO, name="x"),)},
            "the inputs that the manifest states, 'x', got 'mel'",
        ),
        (
            {"inputs": (msgspec.structs.replace(MEL_INFO, shape=("batch", 4, "frames")),)},
            "as the manifest states",
        ),
        (
            {"inputs": (msgspec.structs.replace(MEL_INFO, shape=("batch", "frames")),)},
            "as the manifest states",
        ),
        ({"inputs": (msgspec.structs.replace(MEL_INFO, dtype="int64"),)}, "as the manifest states"),
        ({"outputs": (AUDIO_INFO, AUDIO_INFO)}, "the outputs that the manifest states"),
        ({"outputs": (msgspec.structs.replace(AUDIO_INFO, shape=("batch", 1, "frames*8")),)}, "hop length 4"),
        ({"outputs": (msgspec.structs.replace(AUDIO_INFO, shape=("batch", 1, 80)),)}, "hop length 4"),
        (
            {"inputs": (msgspec.structs.replace(MEL_INFO, shape=("batch", BANDS, "frames*2")),)},
            "hop length 4",
        ),
    ],
)
def test_a_manifest_that_contradicts_its_graph_or_driver_is_refused(artifact_of, changes, message):
    root = artifact_of(GOOD.SerializeToString(), **changes)
    with pytest.raises(ArtifactError, match=message):
        Vocoder.load(root).vocode(MEL)


def test_a_stream_graph_with_another_state_than_its_file_is_refused_before_memory_is_allocated(artifact_of):
    root = artifact_of(GOOD.SerializeToString(), GOOD_STREAM.SerializeToString())
    path = root / "manifest.json"
    document = json.loads(path.read_bytes())
    document["graphs"][1]["facts"]["state_size"] = 1 << 23
    path.write_text(json.dumps(document))
    with Vocoder.load(root) as vocoder, pytest.raises(ArtifactError, match="the shape of state"):
        vocoder.open_stream()
    for tensor in (document["graphs"][1]["inputs"][3], document["graphs"][1]["outputs"][1]):
        tensor["shape"][1] = 1 << 23
    path.write_text(json.dumps(document))
    with Vocoder.load(root) as vocoder, pytest.raises(ArtifactError, match="state must be float32"):
        vocoder.open_stream()


def test_a_graph_that_asks_for_more_memory_than_there_is_is_an_error(artifact_of, provider):
    nodes, values, _ = with_last_node(
        helper.make_node("Add", ["made", "zero"], ["audio"]), constant([1 << 23], "large")
    )
    fill = [
        helper.make_node("Mul", ["large", "large"], ["huge"]),
        helper.make_node("ConstantOfShape", ["huge"], ["zeros"]),
        helper.make_node("ReduceMean", ["zeros", "first"], ["zero"]),
    ]
    data = model([*nodes[:-1], *fill, nodes[-1]], [*values, constant([0], "first")]).SerializeToString()
    with pytest.raises(ProviderError) as caught:
        Vocoder.load(artifact_of(data), provider=provider).vocode(MEL)
    assert "\n" not in str(caught.value)


HUGE_SIZES = {
    "a constant shape": ("ConstantOfShape", ["size"], constant([4_000_000_000], "size")),
    "two axes": ("ConstantOfShape", ["size"], constant([1 << 16, 1 << 16], "size")),
    "an expansion": ("Expand", ["mel", "size"], constant([1 << 20, 1 << 10, 1], "size")),
    "a repetition": ("Tile", ["mel", "size"], constant([1, 1, 1 << 40], "size")),
    "padding": ("Pad", ["mel", "size"], constant([0, 0, 0, 0, 0, 1 << 40], "size")),
}


@pytest.mark.parametrize("as_node", [False, True], ids=["weight", "node"])
@pytest.mark.parametrize("case", HUGE_SIZES)
def test_a_graph_that_states_a_huge_tensor_is_refused_before_a_backend_gets_it(case, as_node):
    operator, inputs, size = HUGE_SIZES[case]
    nodes, values = audio_nodes()
    nodes.append(helper.make_node(operator, inputs, ["huge"]))
    if as_node:
        nodes.append(helper.make_node("Constant", [], ["size"], value=size))
    data = model(nodes, values if as_node else [*values, size]).SerializeToString()
    for check in (check_graph, lambda content: split_graph(io.BytesIO(content), len(content))):
        with pytest.raises(ArtifactError, match=f"more than 268435456 values for any input, {operator}"):
            check(data)


def test_a_driver_that_gives_too_little_audio_does_not_fill_it_up(tiny_artifact):
    with Vocoder.load(tiny_artifact) as vocoder:
        driver = vocoder._driver
        driver.vocode = lambda mel, config: iter([np.ones(3, np.float32)])
        with pytest.raises(ProviderError, match="must give 80 samples for 5 frames, got 3"):
            vocoder.vocode(np.full((10, 5), -5.0, np.float32))


def test_the_size_of_a_file_is_compared_before_it_is_read(tiny_artifact):
    artifact = Artifact.open(tiny_artifact)
    graph = artifact.graph("offline", "fp32")
    large = msgspec.structs.replace(graph.file, size_bytes=1 << 40)
    claimed = msgspec.structs.replace(graph, file=large)
    for read in (
        lambda: artifact.read(large),
        lambda: artifact.read_graph(claimed),
        lambda: artifact.read_split(large),
    ):
        with pytest.raises(ArtifactError, match="differs from what the manifest recorded"):
            read()
