"""From an offline graph to a stateful one that streams, and to one for batches: exact, nothing computed twice."""

from voirs_vocoder.export.streaming.batch_graph import batch_graph, batch_graphs
from voirs_vocoder.export.streaming.batch_pass import BatchPass
from voirs_vocoder.export.streaming.stream_graph import STREAM_ROLES, stream_graph, stream_graphs
from voirs_vocoder.export.streaming.streaming_pass import StreamingPass
from voirs_vocoder.export.streaming.time_axes import time_axes

__all__ = [
    "STREAM_ROLES",
    "BatchPass",
    "StreamingPass",
    "batch_graph",
    "batch_graphs",
    "stream_graph",
    "stream_graphs",
    "time_axes",
]
