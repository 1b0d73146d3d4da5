"""Mixtures of talkers for tests: turns put on channels, and batches of them.

Suffixes: B batch, N channels, T frames, F mel bins, U tokens, C audio channels, M samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.cut import Cut
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asrlib.data.mixture_dataset import MixtureBatch
from asrlib.features.fbank import FbankExtractor
from asrlib.text.tokenizer import Tokenizer
from asrlib.text.turn_labels import TurnStyle, channel_labels, turn_label_ends

CHANNELS = 2


@dataclass(frozen=True)
class Mixture:
    """Mixed audio, and its turns as (channel, start, end, text) in seconds."""

    name: str
    samples_M: Tensor
    turns: tuple[tuple[int, float, float, str], ...]


def overlapping(cuts: Sequence[Cut], name: str, overlap: float = 0.4) -> Mixture:
    """Each turn overlaps the one before by `overlap` seconds, and so takes the other channel."""
    mixed, turns, start = None, [], 0.0
    for i, cut in enumerate(cuts):
        mixed = cut if mixed is None else mixed.mix(cut, offset_other_by=start)
        turns.append((i % CHANNELS, start, start + cut.duration, cut.supervisions[0].text))
        start += cut.duration - overlap
    return Mixture(name, torch.from_numpy(mixed.load_audio())[0], tuple(turns))


def memory_cut(name: str, samples_M: Tensor, text: str, folder: str, rate: int = 16000) -> MonoCut:
    """A cut of samples that are written to `folder`."""
    import soundfile

    path = f"{folder}/{name}.wav"
    soundfile.write(path, samples_M.numpy(), rate, subtype="FLOAT")
    length = len(samples_M)
    recording = Recording(name, [AudioSource("file", [0], path)], rate, length, length / rate)
    supervision = SupervisionSegment(name, name, 0.0, recording.duration, text=text)
    return MonoCut(name, 0.0, recording.duration, 0, [supervision], recording=recording)


def collate(
    mixtures: Sequence[Mixture],
    tokenizer: Tokenizer,
    fbank: FbankExtractor,
    style: TurnStyle = "sot_eot",
) -> MixtureBatch:
    """A batch of mixtures."""
    features = [fbank(mixture.samples_M) for mixture in mixtures]
    x_BTF = pad_sequence(features, batch_first=True)
    tokens, ends, speech = [], [], torch.zeros(len(mixtures), CHANNELS, x_BTF.shape[1]).bool()
    for b, mixture in enumerate(mixtures):
        for n in range(CHANNELS):
            turns = [turn for turn in mixture.turns if turn[0] == n]
            ids = [tokenizer.encode(text) for _, _, _, text in turns]
            tokens.append(torch.tensor(channel_labels(ids, style), dtype=torch.int64))
            ends.append(torch.tensor(turn_label_ends(ids, [end for _, _, end, _ in turns], style)))
            for _, start, end, _ in turns:
                speech[b, n, round(start * 100) : round(end * 100)] = True
    return MixtureBatch(
        x_BTF=x_BTF,
        x_lengths_B=torch.tensor([len(x_TF) for x_TF in features]),
        tokens_BNU=pad_sequence(tokens, batch_first=True).unflatten(0, (-1, CHANNELS)),
        token_lengths_BN=torch.tensor([len(t) for t in tokens]).unflatten(0, (-1, CHANNELS)),
        turn_ends_BNU=pad_sequence(ends, True, float("inf")).unflatten(0, (-1, CHANNELS)),
        speech_BNT=speech,
        ids=[mixture.name for mixture in mixtures],
    )
