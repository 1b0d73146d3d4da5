"""Streaming recognition: `StreamingRecognizer` turns pieces of audio into tokens with times.

Offline decoding runs the same code with one long piece.
"""

from asrlib.streaming.recognizer import StreamingRecognizer
from asrlib.streaming.result import Result, Segment
from asrlib.streaming.settings import DecodeConfig
from asrlib.streaming.stream import Stream

__all__ = ["DecodeConfig", "Result", "Segment", "Stream", "StreamingRecognizer"]
