"""From audio to embeddings: a trained model with its features.

What cannot be embedded is named with the reason, and the rest is embedded.

Shapes: N samples, U utterances, T frames, F features, D width of an embedding.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse import MonoCut
from torch import Tensor

from asrlib.audio.io import load_audio
from asrlib.audio.resample import StreamingResampler
from asrlib.data.speaker_dataset import speaker_of
from asrlib.data.validation import loudest_db
from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import DataError
from asrlib.features.extract import audio_reader, load_cut_audio
from asrlib.features.fbank import FbankConfig, FbankExtractor
from asrlib.speakers.base import SpeakerExtractor
from asrlib.speakers.embed import embed_features
from asrlib.speakers.model import SpeakerModelConfig
from asrlib.speakers.model_io import load_speaker_model

logger = logging.getLogger(__name__)

EMBED_VERSION = 1  # raised when the output of `embed` changes; see asrlib/stamps.py
# Utterances are silent if their loudest 0.1 s is below this level, as in stage 1.
_SILENCE_DB = -60.0
_CUTS_AT_A_TIME = 256


@dataclass(frozen=True)
class Embedder:
    """Embeds audio of any rate.

    Attributes:
        extractor: the extractor in evaluation mode.
        config: settings of the model that it is part of.
        fbank: settings of its features.
        meta: facts about its training.
    """

    extractor: SpeakerExtractor
    config: SpeakerModelConfig
    fbank: FbankConfig
    meta: dict[str, Any]

    @classmethod
    def of(cls, path: Path) -> Embedder:
        """Load a trained model; raises the errors of `load_speaker_model`."""
        loaded = load_speaker_model(path)
        model = loaded.model
        return cls(model.extractor, model.config, loaded.fbank, loaded.meta)

    @property
    def threshold(self) -> float | None:
        """The cosine of the dev speakers' equal error rate; None if the file holds none."""
        threshold = self.meta.get("dev", {}).get("eer_threshold")
        return threshold if threshold is not None and np.isfinite(threshold) else None

    def features(self, samples_N: np.ndarray, rate: int) -> Tensor:
        """Compute the log filter banks (T, F) of an utterance.

        Raises:
            DataError: the utterance is not finite, shorter than a frame, or silent.
        """
        if not np.isfinite(samples_N).all():
            raise DataError("NaN or infinity among the samples", "restore or leave out the file")
        resampler = StreamingResampler(rate, self.fbank.sample_rate)
        samples_M = torch.from_numpy(np.ascontiguousarray(samples_N, dtype=np.float32))
        samples_M = torch.cat([resampler.accept(samples_M), resampler.finish()])
        if len(samples_M) < self.fbank.window:
            raise DataError(
                f"shorter than a frame of {self.fbank.frame_length_ms:g} ms: "
                f"{1000 * len(samples_N) / rate:.1f} ms",
                "give more speech",
            )
        if loudest_db(samples_N, rate) < _SILENCE_DB:
            raise DataError(
                f"silent: no 0.1 s louder than {_SILENCE_DB:g} dBFS",
                "check the microphone or leave out the file",
            )
        return FbankExtractor(self.fbank)(samples_M)

    def samples(self, samples_N: np.ndarray, rate: int) -> np.ndarray:
        """Embed the samples of one speaker, as (D,).

        Raises:
            DataError: the samples cannot be embedded, see `features`.
        """
        vector_D = embed_features(self.extractor, [self.features(samples_N, rate)])[0]
        if not torch.isfinite(vector_D).all():
            raise DataError(_NOT_FINITE, _TRAIN_AGAIN)
        return vector_D.numpy()

    def file(self, path: Path) -> np.ndarray:
        """Embed an audio file, as (D,).

        Raises:
            DataError: the file cannot be read or embedded; the message names it.
        """
        samples_N, rate = load_audio(path)
        try:
            return self.samples(samples_N, rate)
        except DataError as e:
            raise DataError(f"{path}: {e.what}", e.fix) from e

    def cuts(self, cuts: Iterable[MonoCut]) -> EmbeddingTable:
        """Embed whole utterances.

        A row is NaN if its utterance could not be embedded; a warning names it and the reason.

        Raises:
            DataError: there is no utterance, or none could be embedded.
        """
        ids: list[str] = []
        speakers: list[str] = []
        vectors = []
        cuts = iter(cuts)
        with audio_reader():
            while group := list(itertools.islice(cuts, _CUTS_AT_A_TIME)):
                features = [self._cut_features(cut) for cut in group]
                vectors_UD = embed_features(self.extractor, features)
                for cut, x_TF, vector_D in zip(group, features, vectors_UD, strict=True):
                    if len(x_TF) and not torch.isfinite(vector_D).all():
                        logger.warning("%s: not embedded: %s", cut.id, _NOT_FINITE)
                ids += [cut.id for cut in group]
                speakers += [speaker_of(cut) for cut in group]
                vectors.append(vectors_UD)
        if not ids:
            raise DataError(
                "there is no utterance to embed",
                "choose a set with utterances; data/quarantine.tsv names those that were left out",
            )
        table = EmbeddingTable(tuple(ids), tuple(speakers), torch.cat(vectors).numpy())
        if not table.finite().ids:
            raise DataError("no utterance could be embedded", "see the reasons in the log above")
        return table

    def _cut_features(self, cut: MonoCut) -> Tensor:
        """Return the features of a cut; no frames (0, F), and a warning, if it has none."""
        try:
            return self.features(load_cut_audio(cut)[0], cut.sampling_rate)
        except DataError as e:
            logger.warning("%s: not embedded: %s", cut.id, e.what)
            return torch.zeros(0, self.fbank.num_bins)


_NOT_FINITE = "its embedding is not finite"
_TRAIN_AGAIN = "use another checkpoint of the model, or train it again with a lower learning rate"


def speaker_table(utterances: EmbeddingTable) -> EmbeddingTable:
    """Average the embeddings of each speaker's utterances; the ids of the rows are the speakers.

    Utterances that are not embedded, or have no speaker or several, are left out.
    """
    finite = utterances.finite()
    keep = [i for i, speaker in enumerate(finite.speakers) if speaker]
    known = EmbeddingTable(
        tuple(finite.ids[i] for i in keep),
        tuple(finite.speakers[i] for i in keep),
        finite.vectors_ND[keep],
    )
    names, vectors_SD = known.by_speaker()
    return EmbeddingTable(names, names, vectors_SD)


def cosine(a_D: np.ndarray, b_D: np.ndarray) -> float:
    """Return the cosine of two embeddings, the score of a verification trial."""
    norms = float(np.linalg.norm(a_D) * np.linalg.norm(b_D))
    return float(a_D @ b_D) / max(norms, 1e-12)
