"""Made-up speakers, each with a spectrum of its own, and a tiny extractor."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from lhotse import CutSet, Features, MonoCut, NumpyFilesWriter, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.augmentation import Speed

from asrlib.config import to_dict
from asrlib.features.fbank import FbankConfig
from asrlib.speakers.ecapa import EcapaConfig
from asrlib.speakers.losses import SpeakerLossConfig
from asrlib.speakers.model import SpeakerModel, SpeakerModelConfig

NUM_BINS = 12
FBANK = FbankConfig(num_bins=NUM_BINS)
ECAPA = EcapaConfig(
    channels=16, aggregate_dim=16, res2_scale=4, se_dim=8, attention_dim=8, embedding_dim=8
)
CONFIG = SpeakerModelConfig(task="speaker", extractor=ECAPA, loss=SpeakerLossConfig())


def speaker_model(num_classes: int = 4, config: SpeakerModelConfig = CONFIG) -> SpeakerModel:
    torch.manual_seed(0)
    return SpeakerModel(config, NUM_BINS, num_classes)


def speaker_cut(
    writer: NumpyFilesWriter,
    speaker: str | None,
    number: int,
    frames: int,
    speed: float = 1.0,
) -> MonoCut:
    """An utterance whose features vary more or less in each bin, depending on the speaker."""
    name = f"{speaker}-{number}" + (f"_sp{speed}" if speed != 1.0 else "")
    own = torch.Generator().manual_seed(sum(map(ord, speaker or "")) + round(100 * speed))
    spread_F = 3 * torch.rand(NUM_BINS, generator=own)
    draw = torch.Generator().manual_seed(number + 1000 * frames)
    x_TF = torch.randn(frames, NUM_BINS, generator=draw) * spread_F - 5
    seconds = frames * FBANK.frame_shift
    samples = round(seconds * 16000)
    transforms = [Speed(speed)] if speed != 1.0 else None
    source = AudioSource("file", [0], "none.wav")
    recording = Recording(name, [source], 16000, samples, seconds, transforms=transforms)
    features = Features(
        type="fbank",
        num_frames=frames,
        num_features=NUM_BINS,
        frame_shift=FBANK.frame_shift,
        sampling_rate=16000,
        start=0.0,
        duration=seconds,
        storage_type=writer.name,
        storage_path=writer.storage_path,
        storage_key=writer.write(name, x_TF.numpy()),
        recording_id=name,
        channels=0,
    )
    supervision = SupervisionSegment(name, name, 0.0, seconds, speaker=speaker, text="A")
    return MonoCut(name, 0.0, seconds, 0, [supervision], features=features, recording=recording)


def speaker_cuts(
    folder: Path,
    speakers: int,
    lengths: tuple[int, ...] = (60, 25, 90),
    prefix: str = "s",
    speeds: tuple[float, ...] = (1.0,),
) -> CutSet:
    """Speakers with an utterance of each of `lengths` (frames) at each speed."""
    folder.mkdir(parents=True, exist_ok=True)
    with NumpyFilesWriter(folder) as writer:
        return CutSet.from_cuts(
            speaker_cut(writer, f"{prefix}{s}", n, frames, speed)
            for s in range(speakers)
            for n, frames in enumerate(lengths)
            for speed in speeds
        )


def write_recipe(directory: Path) -> Path:
    """A recipe directory as stage 2 leaves it, and configuration for a tiny extractor."""
    for name, count in (("train", 6), ("dev", 3)):
        cuts = speaker_cuts(directory / "data" / "fbank" / name, count, prefix=name)
        (directory / "data" / name).mkdir(parents=True)
        cuts.to_file(directory / "data" / name / "cuts_fbank.jsonl.gz")
    sections = {
        "model/tiny_speaker": to_dict(CONFIG),
        "features": {"num_bins": NUM_BINS},
        "speaker": {
            "speakers": 4,
            "crop_seconds": 0.4,
            "per_epoch": 4,
            "train": {"epochs": 3, "warmup_steps": 2},
        },
        "train": {"num_threads": 1, "num_workers": 0, "valid_interval": 3},
    }
    for name, values in sections.items():
        path = directory / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values))
    return directory
