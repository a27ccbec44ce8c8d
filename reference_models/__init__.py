"""Reference models in PyTorch: the reference that every exported graph is compared with.

The package imports without torch; the module of a family, and what it needs, is imported by `get_family`.
"""

from voirs_vocoder.reference_models.errors import CheckpointError, ModelConfigError, ReferenceModelError
from voirs_vocoder.reference_models.registry import FAMILIES, family_names, get_family, register_family

__all__ = [
    "FAMILIES",
    "CheckpointError",
    "ModelConfigError",
    "ReferenceModelError",
    "family_names",
    "get_family",
    "register_family",
]
