"""Make planned mixtures with lhotse: cuts that are mixed when loaded, and their samples."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse import MonoCut, Recording, RecordingSet
from lhotse.augmentation import ReverbWithImpulseResponse
from lhotse.augmentation.utils import FastRandomRIRGenerator
from lhotse.cut import Cut
from lhotse.utils import fastcopy
from tqdm import tqdm

from asrlib.data.augment import seeded
from asrlib.data.cuts import MANIFEST_FAULTS
from asrlib.data.mixtures import Mixture, MixtureConfig, PlannedTurn
from asrlib.errors import DataError
from asrlib.features.extract import audio_reader
from asrlib.seeds import derive_seed


class Mixer:
    """Makes the cuts and the audio of planned mixtures of a set's utterances.

    Rooms are lhotse's fast random rooms (arXiv 2208.04101), or each talker gets one impulse
    response of the manifest `config.impulse_responses`.

    Args:
        cuts: utterances with one supervision each; their features are not used.
        config: settings of the mixtures.
        rooms: number of random rooms that are made once and shared by all mixtures, each with a
            place for every talker that a mixture can have. Making a room takes longer than all
            other work for a turn. With 0, each mixture has a room of its own.

    Raises:
        DataError: the impulse responses cannot be used; the message names the manifest.
    """

    def __init__(self, cuts: Iterable[MonoCut], config: MixtureConfig, rooms: int = 0) -> None:
        self._cuts = {cut.id: cut for cut in cuts}
        self._max_t60 = config.max_t60
        path = config.impulse_responses
        self._responses = _read_responses(Path(path), self._cuts) if path else []
        rates = {cut.sampling_rate for cut in self._cuts.values()}
        wanted = rooms if config.reverb_probability > 0 and not self._responses and rates else 0
        self._rooms = [
            _make_room(room, config.talkers[1], max(rates), config.max_t60)
            for room in tqdm(range(wanted), desc="rooms", disable=None if wanted else True)
        ]

    def cut(self, mixture: Mixture) -> Cut:
        """Return the lhotse cut of a plan, whose audio is mixed when it is loaded.

        Its supervisions are the turns, from first to last word, each with `text`, `speaker`,
        `custom["talker_channel"]` and, where known, the word alignment.

        Raises:
            DataError: an utterance of the plan is not among the cuts.
        """
        first, *others = mixture.turns
        mixed: Cut = self._track(mixture, 0)
        if first.offset > 0:  # padding on the left moves the first turn to its start
            mixed = mixed.pad(duration=mixed.duration + first.offset, direction="left")
        for index, turn in enumerate(others, start=1):
            track = self._track(mixture, index)
            mixed = mixed.mix(
                track, offset_other_by=turn.offset, snr=-turn.level_db, allow_padding=True
            )
        return mixed.pad(duration=mixture.duration).with_id(mixture.id)

    def render(self, mixture: Mixture) -> tuple[Cut, np.ndarray]:
        """Return the cut of a plan and its samples (N,), float32, scaled down if they would clip.

        Equal plans give equal samples. lhotse's room generator also draws from torch's global
        random state, and its threads write coinciding reflections in any order. Therefore this
        method seeds that state and uses one thread.

        Raises:
            DataError: an utterance is missing or its file cannot be read; the message names the
                mixture.
        """
        cut = self.cut(mixture)
        try:
            with seeded(mixture.room_seed or 0), _one_thread(), audio_reader():
                samples_N: np.ndarray = cut.load_audio()[0].astype(np.float32)
        except Exception as e:  # lhotse passes on whatever its audio backends raise
            raise DataError(
                f"mixture {cut.id}: cannot be read: {str(e).splitlines()[0]}",
                "restore the file, or run stage 1 again to quarantine it",
            ) from e
        samples_N = self._with_noise(mixture, samples_N, cut.sampling_rate)
        peak = float(np.abs(samples_N).max(initial=0.0))
        return cut, samples_N if peak <= 1.0 else samples_N * np.float32(0.999 / peak)

    def _with_noise(self, mixture: Mixture, samples_N: np.ndarray, rate: int) -> np.ndarray:
        """Add the mixture's noise at `noise_snr` dB below the mean power while anybody talks."""
        if mixture.noise_snr is None:
            return samples_N
        talking_N = np.zeros(len(samples_N), dtype=bool)
        for turn in mixture.turns:
            talking_N[round(turn.start * rate) : round(turn.end * rate)] = True
        power = float(np.square(samples_N[talking_N], dtype=np.float64).mean())
        noise_N = _pink_noise(rate)
        start = derive_seed("noise", mixture.id) % len(noise_N)
        heard_N = np.take(noise_N, np.arange(start, start + len(samples_N)), mode="wrap")
        return samples_N + np.float32(math.sqrt(power / 10 ** (mixture.noise_snr / 10))) * heard_N

    def _track(self, mixture: Mixture, index: int) -> MonoCut:
        turn = mixture.turns[index]
        if turn.cut not in self._cuts:
            raise DataError(
                f"mixture {mixture.id}: no cut {turn.cut} in the set's manifest",
                "make the mixtures again with --force",
            )
        cut = self._cuts[turn.cut]
        supervision = cut.supervisions[0]
        # When lhotse mixes, it shifts the supervisions, but not their alignments.
        alignment = {
            kind: [item.with_offset(turn.offset) for item in items]
            for kind, items in (supervision.alignment or {}).items()
        }
        supervision = fastcopy(
            supervision,
            alignment=alignment or None,
            id=f"{mixture.id}-{index}",
            start=turn.start - turn.offset,
            duration=turn.end - turn.start,
            custom={"talker_channel": turn.channel},
        )
        recording = cut.recording
        if mixture.room_seed is not None and recording is not None:
            reverb = self._reverb(mixture, turn, cut.sampling_rate)
            recording = fastcopy(recording, transforms=[*(recording.transforms or ()), reverb])
        return fastcopy(cut, supervisions=[supervision], features=None, recording=recording)

    def _reverb(self, mixture: Mixture, turn: PlannedTurn, rate: int) -> ReverbWithImpulseResponse:
        seed = mixture.room_seed or 0
        if self._rooms:
            places = self._rooms[seed % len(self._rooms)]
            people = list(dict.fromkeys(t.speaker for t in mixture.turns))
            response_1N = places[people.index(turn.speaker) % len(places)]
            return ReverbWithImpulseResponse(rir_generator=lambda nsource: response_1N)
        place = derive_seed(seed, turn.speaker)
        if self._responses:
            response = self._responses[place % len(self._responses)]
            # lhotse also accepts a Recording, although its annotation only names a dict.
            # pyrefly: ignore[bad-argument-type]
            return ReverbWithImpulseResponse(rir=response)
        # A mixture has one room, with one place per talker. The generator's output depends on the
        # number of its calls, so each turn gets a new generator.
        return ReverbWithImpulseResponse(
            rir_generator=_generator_keys(seed, place, rate, self._max_t60)
        )


@functools.lru_cache(maxsize=2)
def _pink_noise(rate: int) -> np.ndarray:
    """Make 60 s of noise (N,), power 1, falling by 3 dB per octave above 50 Hz like room noise."""
    white_F = np.fft.rfft(np.random.default_rng(0).standard_normal(60 * rate))
    hertz_F = np.arange(len(white_F)) / 60
    noise_N = np.fft.irfft(white_F / np.sqrt(np.maximum(hertz_F, 50)))
    noise_N /= np.sqrt(np.mean(noise_N**2))
    return noise_N.astype(np.float32)


def _generator_keys(room: int, place: int, rate: int, max_t60: float) -> dict[str, Any]:
    return {"sr": rate, "max_T60": max_t60, "room_seed": room, "source_seed": place}


def _make_room(index: int, places: int, rate: int, max_t60: float) -> list[np.ndarray]:
    """Make impulse responses (1, N) from random places in a random room to its microphone."""
    room, made = derive_seed("room", index), []
    for place in range(places):
        seed = derive_seed("room", index, place)
        with seeded(seed), _one_thread():
            generator = FastRandomRIRGenerator(**_generator_keys(room, seed, rate, max_t60))
            made.append(generator(nsource=1))
    return made


def _read_responses(path: Path, cuts: dict[str, MonoCut]) -> list[Recording]:
    try:
        found = sorted(RecordingSet.from_file(path), key=lambda r: r.id)
    except MANIFEST_FAULTS as e:
        raise DataError(
            f"{path}: not a manifest of impulse responses: {e}",
            "set mixtures.impulse_responses to a lhotse recordings.jsonl.gz",
        ) from e
    rates = {cut.sampling_rate for cut in cuts.values()}
    wrong = next((r.id for r in found if {r.sampling_rate} != rates), None)
    if wrong is not None or not found:
        raise DataError(
            f"{path}: " + (f"{wrong} is not at {sorted(rates)} Hz" if wrong else "is empty"),
            "give impulse responses at the sample rate of the utterances",
        )
    return found


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
