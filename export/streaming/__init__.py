"""From an offline graph to a stateful one that streams: exact, and nothing computed twice."""

from voirs_vocoder.export.streaming.stream_graph import STREAM_ROLES, stream_graph, stream_graphs
from voirs_vocoder.export.streaming.streaming_pass import StreamingPass
from voirs_vocoder.export.streaming.time_axes import time_axes

__all__ = ["STREAM_ROLES", "StreamingPass", "stream_graph", "stream_graphs", "time_axes"]
