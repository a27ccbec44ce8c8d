"""Cosines of phases in turns become polynomials, and polynomials cosines again."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from voirs_vocoder.export.passes import (
    CosFromPolynomialPass,
    NameNodesPass,
    PolynomialFromCosPass,
    run_passes,
)
from voirs_vocoder.export.passes.cosine_polynomials import EXACT_DEGREE, cosine_coefficients

ERRORS = {3: 2e-3, 4: 5e-5, EXACT_DEGREE: 1e-6}
TURN = 2.0 * np.pi
SCALED = "t = Mul(x, turn) c = Cos(t) y = Mul(share, c)"
PLAIN = "t = Mul(x, turn) c = Cos(t) y = Neg(c)"
LAST = "t = Mul(x, turn) y = Cos(t)"


def graph(body: str, shape: str = "N,2,T", turn: float = TURN) -> onnx.ModelProto:
    text = (
        f'<ir_version: 10, opset_import: ["" : 20]> g (float[{shape}] x) => (float[{shape}] y) {{ {body} }}'
    )
    model = onnx.parser.parse_model(text)
    for name, values in (("turn", np.float32(turn)), ("share", np.array([[0.5], [-3.0]], np.float32))):
        if name in body:
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), name))
    return run_passes(model, [NameNodesPass()])


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


def operators(model: onnx.ModelProto) -> list[str]:
    return sorted(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("degree", ERRORS)
def test_the_coefficients_give_the_cosine_of_half_a_turn_to_both_sides(degree):
    phase = np.linspace(-0.5, 0.5, 10_001)
    values = np.polynomial.polynomial.polyval(phase**2, cosine_coefficients(degree))
    assert np.abs(values - np.cos(TURN * phase)).max() < ERRORS[degree]


SESSIONS = {
    degree: onnxruntime.InferenceSession(
        run_passes(graph(SCALED), [PolynomialFromCosPass(degree)]).SerializeToString()
    )
    for degree in ERRORS
}


@pytest.mark.parametrize("degree", ERRORS)
@given(
    x=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 2), st.just(2), st.integers(1, 5)),
        elements=st.floats(-64.0, 64.0, width=32),
    )
)
def test_a_polynomial_follows_the_cosine_over_many_turns(degree, x):
    expected = np.array([[0.5], [-3.0]]) * np.cos(TURN * x.astype(np.float64))
    (got,) = SESSIONS[degree].run(None, {"x": x})
    np.testing.assert_allclose(got, expected, rtol=0, atol=3.0 * (ERRORS[degree] + 1e-6))


@pytest.mark.parametrize("body", [SCALED, PLAIN, LAST])
def test_a_polynomial_becomes_the_cosine_again(body):
    before = graph(body)
    x = np.random.default_rng(0).normal(0.0, 3.0, (2, 2, 9)).astype(np.float32)
    polynomial = run_passes(before, [PolynomialFromCosPass()])
    restored = run_passes(polynomial, [CosFromPolynomialPass()])
    assert "Cos" not in operators(polynomial)
    assert "Round" not in operators(restored)
    assert operators(restored).count("Cos") == 1
    np.testing.assert_allclose(run(polynomial, x), run(before, x), rtol=0, atol=1e-5)
    np.testing.assert_allclose(run(restored, x), run(before, x), rtol=0, atol=1e-6)


def test_the_factor_goes_into_a_constant_that_is_there():
    before = graph(SCALED)
    polynomial = run_passes(before, [PolynomialFromCosPass(3)])
    # Round, three products of the phase, three sums, and the product that was there.
    assert operators(polynomial) == sorted(["Round", "Sub", *["Mul"] * 4, *["Add"] * 3])
    assert operators(run_passes(polynomial, [CosFromPolynomialPass()])) == operators(before)


def test_a_degree_is_exchanged_for_another_without_leftovers():
    passes = [PolynomialFromCosPass(), CosFromPolynomialPass(), PolynomialFromCosPass(3)]
    model = run_passes(graph(SCALED), passes)
    assert operators(model).count("Add") == 3
    read = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= read


@pytest.mark.parametrize(
    "model",
    [graph(SCALED, turn=6.0), graph(SCALED, "2,T"), graph("y = Cos(x)")],
    ids=["of other units", "of so few axes", "of no product"],
)
def test_another_cosine_stays(model):
    assert operators(run_passes(model, [PolynomialFromCosPass()])) == operators(model)


def test_a_sum_of_other_powers_is_no_cosine():
    body = "r = Round(x) p = Sub(x, r) s = Mul(p, p) y = Add(s, turn)"
    model = graph(body)
    assert operators(run_passes(model, [CosFromPolynomialPass()])) == operators(model)
