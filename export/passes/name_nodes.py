"""Names nodes after the modules whose weights they own, so that patterns can match them."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from voirs_vocoder.calibration.edits.unique_names import UniqueNames

__all__ = ["NameNodesPass"]

_WEIGHT_SUFFIX = ".weight"


class NameNodesPass(ir.passes.InPlacePass):
    """Gives every node and every inner value a name that describes it and does not depend on the exporter.

    A node with an initializer `MODULE.weight` among its inputs becomes `MODULE` (a second call of the
    module `MODULE/1`). Any other is named after its operator with a running number: `LeakyRelu.0`,
    `LeakyRelu.1`. The result of node `conv_pre` becomes `conv_pre.output`, or `Split.0.output.1` where
    there are several. Graph inputs, graph outputs and initializers keep their names. Applying the pass
    twice changes nothing more.
    """

    def requires(self, model: ir.Model) -> None:
        """The model has no functions, whose nodes would be named once for all calls.

        Raises:
            PreconditionError: The model has a function.
        """
        if model.functions:
            raise ir.passes.PreconditionError(
                f"nodes are named in a graph without functions, got {len(model.functions)}; inline them first"
            )

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rename in place."""
        fixed = {value.name for graph in model.graphs() for value in (*graph.inputs, *graph.outputs)}
        fixed.update(name for graph in model.graphs() for name in graph.initializers)
        node_names, value_names, per_operator = UniqueNames(), UniqueNames(fixed), Counter[str]()
        # Modules first: `Tanh.0` could be the name of a module as well.
        nodes = list(model.graph.all_nodes())
        for node in nodes:
            if module := _module(node):
                node.name = node_names.claim(module)
        for node in nodes:
            if not _module(node):
                node.name = node_names.claim(f"{node.op_type}.{per_operator[node.op_type]}")
                per_operator[node.op_type] += 1
        for node in nodes:
            for index, value in enumerate(node.outputs):
                # An empty name is ONNX's way to leave an optional output out.
                if value.name and not value.is_graph_output():
                    suffix = f".{index}" if len(node.outputs) > 1 else ""
                    value.name = value_names.claim(f"{node.name}.output{suffix}")
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """Names of nodes and names of values are unique and not empty.

        Raises:
            PostconditionError: A name is empty or repeated.
        """
        nodes = list(model.graph.all_nodes())
        values = [value for node in nodes for value in node.outputs if value.name]
        values += [value for graph in model.graphs() for value in graph.inputs]
        for kind, names in (("nodes", [n.name for n in nodes]), ("values", [v.name for v in values])):
            repeated = [name for name, count in Counter(names).items() if count > 1 or not name]
            if repeated:
                raise ir.passes.PostconditionError(
                    f"names of {kind} must be unique and not empty, got {repeated[:5]}; report the model"
                )


def _module(node: ir.Node) -> str:
    """The module whose weight the node owns, or an empty string."""
    for value in node.inputs:
        if value is not None and value.is_initializer() and value.name:
            module = value.name.removesuffix(_WEIGHT_SUFFIX)
            if module != value.name:
                return module
    return ""
