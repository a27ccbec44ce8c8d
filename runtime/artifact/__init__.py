"""The artifact: a folder of graphs, engines and figures, described and verified by its manifest."""

from voirs_vocoder.runtime.artifact.reading import Artifact

__all__ = ["Artifact"]
