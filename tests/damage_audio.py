"""Kinds of damage to an audio file: what is written in its place, by name."""

from __future__ import annotations

import io
import os
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from command_fakes import sound

RATE = 16000
Damage = Callable[[Path], None]

# Offset, size and name of the fields of a 44-byte WAV header.
_WAV_FIELDS = (
    (0, 4, "RIFF mark"),
    (4, 4, "RIFF size"),
    (8, 4, "WAVE mark"),
    (12, 4, "fmt mark"),
    (16, 4, "fmt size"),
    (20, 2, "format tag"),
    (22, 2, "channels"),
    (24, 4, "rate"),
    (28, 4, "byte rate"),
    (32, 2, "block size"),
    (34, 2, "bits"),
    (36, 4, "data mark"),
    (40, 4, "data size"),
)
_AU_FIELDS = ((0, "mark"), (4, "offset"), (8, "size"), (12, "encoding"), (16, "rate"))
_FORMATS = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}


def speech() -> np.ndarray:
    """A second of the sound that good utterances have too."""
    return sound(1.0, RATE, 3)


def encoded(samples: np.ndarray, rate: int = RATE, kind: str = "wav", subtype: str = "") -> bytes:
    """An audio file of the samples, mono (N,) or of several channels (N, C)."""
    file = io.BytesIO()
    subtype = subtype or _FORMATS.get(kind, "PCM_16")
    soundfile.write(file, samples, rate, format=kind.upper(), subtype=subtype)
    return file.getvalue()


def _bytes(content: bytes) -> Damage:
    return lambda path: path.write_bytes(content) and None


def _patched(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def headers() -> Iterator[tuple[str, Damage]]:
    """Each field of a WAV header with four wrong values; of AU, FLAC and SPHERE the main ones."""
    wav, rng = encoded(speech()), random.Random(1)
    for at, size, name in _WAV_FIELDS:
        whole = 256**size
        values = {"0": 0, "1": 1, "the largest": whole - 1, "a random number": rng.randrange(whole)}
        for title, value in values.items():
            new = value.to_bytes(size, "little")
            yield f"wav header: {name} is {title}", _bytes(_patched(wav, at, new))
    au = encoded(speech(), kind="au")
    for at, name in _AU_FIELDS:
        for title, value in (("0", 0), ("the largest", 2**32 - 1)):
            yield (
                f"au header: {name} is {title}",
                _bytes(_patched(au, at, struct.pack(">I", value))),
            )
    flac = encoded(speech(), kind="flac")
    # STREAMINFO: 20 bits rate, 3 channels - 1, 5 bits - 1, 36 number of samples.
    info = int.from_bytes(flac[18:26], "big")
    for name, shift, bits in (("rate", 44, 20), ("channels", 41, 3), ("samples", 0, 36)):
        for title, value in (("0", 0), ("the largest", 2**bits - 1)):
            changed = info & ~((2**bits - 1) << shift) | value << shift
            new = changed.to_bytes(8, "big")
            yield f"flac header: {name} is {title}", _bytes(_patched(flac, 18, new))
    sphere = encoded(speech(), kind="nist")
    for name, old in (("sample_rate -i", b"16000"), ("channel_count -i", b"1")):
        for value in (b"0", b"-1", b"999999999", b"x"):
            key = name.encode() + b" "
            new = sphere.replace(key + old, key + value)
            new = new[:1024] + new[1024 + len(new) - len(sphere) :]
            yield f"sphere header: {name} {value.decode()}", _bytes(new)
    lying = sphere.replace(b"sample_count -i 16000", b"sample_count -i 99999")
    yield "sphere header: more samples than there are", _bytes(lying)


def truncations() -> Iterator[tuple[str, Damage]]:
    for kind in _FORMATS:
        whole = encoded(speech(), kind=kind)
        cuts = {"0 bytes": 0, "1 byte": 1, "12 bytes": 12, "44 bytes": 44, "100 bytes": 100}
        cuts |= {"half": len(whole) // 2, "all but 7 bytes": len(whole) - 7}
        for title, size in cuts.items():
            yield f"{kind}: cut to {title}", _bytes(whole[:size])


def flips() -> Iterator[tuple[str, Damage]]:
    """Compressed files with a run of other bytes at the beginning, in the midst, at the end."""
    rng = random.Random(2)
    for kind in ("flac", "ogg", "mp3"):
        whole = encoded(speech(), kind=kind)
        for title, share in (("the first tenth", 0.1), ("the midst", 0.5), ("the end", 0.9)):
            noise = rng.randbytes(64)
            at = int(share * len(whole))
            yield f"{kind}: 64 random bytes in {title}", _bytes(_patched(whole, at, noise))
        zeros = bytes(len(whole) // 3)
        yield f"{kind}: a third is zeros", _bytes(_patched(whole, len(whole) // 3, zeros))


def contents() -> Iterator[tuple[str, Damage]]:
    """Whole files whose samples, rate or channels are of no use."""
    good = speech()
    with_values = {}
    for name, value in (("NaN", np.nan), ("infinity", np.inf), ("1e30", 1e30)):
        changed = good.copy()
        changed[1000:1010] = value
        with_values[f"float samples with {name}"] = encoded(changed, subtype="FLOAT")
    yield from ((name, _bytes(content)) for name, content in with_values.items())
    yield "all NaN", _bytes(encoded(np.full(RATE, np.nan), subtype="FLOAT"))
    yield "all zero", _bytes(encoded(np.zeros(RATE)))
    yield "all zero, opus", _bytes(encoded(np.zeros(RATE), kind="ogg", subtype="OPUS"))
    yield "denormal samples", _bytes(encoded(np.full(RATE, 1e-40), subtype="DOUBLE"))
    yield "no samples, wav", _bytes(encoded(good[:0]))
    yield "no samples, flac", _bytes(encoded(good[:0], kind="flac"))
    yield "one sample", _bytes(encoded(good[:1]))
    yield "10 ms", _bytes(encoded(good[:160]))
    yield "ten minutes of noise at 1 kHz", _bytes(encoded(np.tile(good, 38)[: 600 * 1000], 1000))
    for rate in (1, 7, 7999, 8000, 44100, 96001, 655350, 2**31 - 1):
        yield f"{rate} Hz", _bytes(encoded(good, rate))
    for channels in (2, 6, 128):
        many = np.repeat(good[:, None], channels, 1)
        yield f"{channels} channels", _bytes(encoded(many))


def _symlink(target: str) -> Damage:
    return lambda path: path.symlink_to(target)


def disguises() -> Iterator[tuple[str, Damage]]:
    """What is no audio file, or not the one that its name says."""
    wav = encoded(speech())
    texts = {
        "a text": b"not audio\n",
        "an HTML page of an error": b"<!doctype html><title>404 Not Found</title>",
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "a PNG": b"\x89PNG\r\n\x1a\n" + bytes(64),
        "a gzip": b"\x1f\x8b\x08\x00" + bytes(64),
        "a zip": b"PK\x03\x04" + bytes(64),
        "an ID3 tag and no frame": b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(64),
        "random bytes": random.Random(3).randbytes(32000),
        "headerless samples": wav[44:],
        "a WAV header within a WAV": wav[:44] + wav[:20],
        "zeros": bytes(32000),
    }
    yield from ((name, _bytes(content)) for name, content in texts.items())
    yield "a directory", Path.mkdir
    yield "a named pipe", os.mkfifo
    yield "a device", _symlink("/dev/zero")
    yield "a link to nothing", _symlink("nowhere.wav")
    yield "a link to itself", lambda path: path.symlink_to(path.name)
    yield "no file", lambda path: None


def audio_kinds() -> Iterator[tuple[str, Damage]]:
    """All of them; each makes a file at a path at which there is none."""
    for family in (headers, truncations, flips, contents, disguises):
        yield from family()
