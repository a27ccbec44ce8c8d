"""Reference models in PyTorch: the truth that every exported graph is measured against.

The package imports without torch; a family's module, and what it needs, comes with `get_family`.
"""

from voirs_vocoder.reference_models.errors import CheckpointError, ModelConfigError, ReferenceModelError
from voirs_vocoder.reference_models.registry import family_names, get_family, register_family

__all__ = [
    "CheckpointError",
    "ModelConfigError",
    "ReferenceModelError",
    "family_names",
    "get_family",
    "register_family",
]
