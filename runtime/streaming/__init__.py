"""Streams: live mel frames in, audio out that equals the offline pass."""

from __future__ import annotations

from voirs_vocoder.runtime.streaming.chunk_stream import ChunkStream
from voirs_vocoder.runtime.streaming.config import StreamingConfig
from voirs_vocoder.runtime.streaming.session import VocoderStream
from voirs_vocoder.runtime.streaming.statistics import StreamStatistics

__all__ = ["ChunkStream", "StreamStatistics", "StreamingConfig", "VocoderStream"]
