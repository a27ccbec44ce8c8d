"""The artifact: a folder of graphs, engines and reports, which its manifest describes and verifies."""

from voirs_vocoder.runtime.artifact.reading import Artifact

__all__ = ["Artifact"]
