"""Speech synthesis program: reads JSON requests from stdin, writes speech and word times to stdout.

eSpeak NG is licensed under the GPL, version 3. Only this program loads it, in a process of its own;
it imports nothing of this project, and nothing in this project imports it. The engine and its data
come from the package espeakng-loader.

A request is one line: {"text", "voice", "rate", "pitch", "range", "seed"}. voice is
`language+variant`, rate is in words per minute, pitch and range are 0..100 (50 is the voice's own).
The answer is one line {"sample_rate", "num_samples", "starts"}, where starts holds the first sample
of each word of the text, in order. num_samples samples follow as little-endian 16-bit integers. If
the answer is {"error"}, no samples follow.

The engine keeps state from one call to the next (oscillator phases, parameters, a random
generator). Every request sets all parameters and the generator's seed; for equal bytes each time,
the caller must also start a new process for each series of requests.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import espeakng_loader

AUDIO_OUTPUT_SYNCHRONOUS = 2
EVENT_LIST_TERMINATED = 0
EVENT_WORD = 1
CHARS_UTF8 = 1
RATE, VOLUME, PITCH, RANGE = 1, 2, 3, 4
QUIET = 50  # per cent of the engine's volume: some voices clip at full volume
# The engine pronounces some pairs ("in the") as one word, with one event. A zero-width space
# before the space keeps the words apart, so that each word has its own time.
WORD_GAP = "\u200b "


class Event(ctypes.Structure):
    """The structure espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event)
)


class Engine:
    """eSpeak NG through its C interface, synchronous, one utterance at a time."""

    def __init__(self) -> None:
        self._lib = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path()
        self.sample_rate = self._lib.espeak_Initialize(
            AUDIO_OUTPUT_SYNCHRONOUS, 200, data.encode(), 0
        )
        if self.sample_rate <= 0:
            raise RuntimeError("eSpeak NG does not start: reinstall espeakng-loader")
        self._variants = {path.name for path in Path(data, "voices", "!v").iterdir()}
        self._pcm = bytearray()
        self._events: list[tuple[int, int]] = []
        self._callback = CALLBACK(self._collect)  # kept here, since the engine has only the pointer
        self._lib.espeak_SetSynthCallback(self._callback)

    def _collect(self, wave: Any, num_samples: int, events: Any) -> int:
        if wave and num_samples > 0:
            self._pcm += ctypes.string_at(wave, 2 * num_samples)
        i = 0
        while events[i].type != EVENT_LIST_TERMINATED:
            if events[i].type == EVENT_WORD:
                self._events.append((events[i].text_position, events[i].sample))
            i += 1
        return 0

    def say(self, request: dict[str, Any]) -> tuple[bytes, list[int]]:
        """Return 16-bit samples, and the index of the first sample of each word."""
        words = request["text"].split()
        self._pcm.clear()
        self._events.clear()
        self._lib.espeak_ng_SetRandSeed(ctypes.c_long(request["seed"]))
        variant = request["voice"].partition("+")[2]  # the engine ignores unknown variants
        known = not variant or variant in self._variants
        if not known or self._lib.espeak_SetVoiceByName(request["voice"].encode()) != 0:
            raise ValueError(f"voice {request['voice']}: unknown to eSpeak NG")
        self._lib.espeak_SetParameter(VOLUME, QUIET, 0)
        for parameter, key in ((RATE, "rate"), (PITCH, "pitch"), (RANGE, "range")):
            self._lib.espeak_SetParameter(parameter, request[key], 0)
        text = WORD_GAP.join(words).encode() + b"\0"
        self._lib.espeak_Synth(text, len(text), 0, 1, 0, CHARS_UTF8, None, None)
        positions, position = [], 1  # of the words in the text, in characters from 1
        for word in words:
            positions.append(position)
            position += len(word) + len(WORD_GAP)
        if [p for p, _ in self._events] != positions:
            raise ValueError(f"{request['text']!r}: not one event for each word; reword it")
        return bytes(self._pcm), [sample for _, sample in self._events]


def main() -> None:
    """Answer requests until the end of stdin."""
    engine = Engine()
    for line in sys.stdin:
        pcm, answer = b"", {}
        try:
            pcm, starts = engine.say(json.loads(line))
            answer = {"num_samples": len(pcm) // 2, "starts": starts}
        except ValueError as e:
            answer = {"error": str(e)}
        answer["sample_rate"] = engine.sample_rate
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + pcm)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
