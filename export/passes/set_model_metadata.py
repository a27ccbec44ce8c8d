"""Writes facts that a loader needs, such as the sample rate, into the graph itself."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from voirs_vocoder.export.errors import ExportError

__all__ = ["SetModelMetadataPass"]


class SetModelMetadataPass(ir.passes.InPlacePass):
    """Adds model-level metadata, such as `sample_rate`, to the existing metadata, sorted by key in the file.

    Args:
        properties: Values by key; an existing key is overwritten.

    Raises:
        ExportError: A key is empty, or a key or value is no string.
    """

    def __init__(self, properties: Mapping[str, str]) -> None:
        super().__init__()
        for key, value in properties.items():
            # Callers that are not type-checked may pass a sample rate as a number.
            if not key or not all(isinstance(text, str) for text in (key, value)):
                raise ExportError(
                    f"model metadata maps strings, the keys not empty, to strings, got {key!r}: {value!r}; "
                    "convert it with str()"
                )
        self._properties = dict(properties)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Merge and sort in place."""
        merged = sorted({**model.metadata_props, **self._properties}.items())
        model.metadata_props.clear()
        model.metadata_props.update(merged)
        return ir.passes.PassResult(model, modified=bool(self._properties))

    def ensures(self, model: ir.Model) -> None:
        """Every property is in the model's metadata.

        Raises:
            PostconditionError: A property is missing or has another value.
        """
        missing = self._properties.items() - model.metadata_props.items()
        if missing:
            raise ir.passes.PostconditionError(
                f"model metadata must hold what was set, got one without {sorted(missing)}; report it"
            )
