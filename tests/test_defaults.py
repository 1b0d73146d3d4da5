"""conf/*.yaml and the defaults of the dataclasses that they fill say the same."""

from __future__ import annotations

import pytest
import yaml

from asrlib.cohorts.config import CohortsConfig
from asrlib.config import load_config, to_dict
from asrlib.data.augment import AugmentConfig
from asrlib.data.membership import MembershipConfig
from asrlib.data.mixtures import MixtureConfig
from asrlib.data.sampler import DataConfig
from asrlib.data.speaker_dataset import SpeakerDataConfig
from asrlib.data.validation import ValidationConfig
from asrlib.experiments.publish import PublishConfig
from asrlib.features.fbank import FbankConfig
from asrlib.mitigation.config import MitigationConfig
from asrlib.scoring.score import ScoreConfig
from asrlib.streaming import DecodeConfig
from asrlib.text import TokensConfig
from asrlib.training.config import TrainConfig
from asrlib.training.item_weights import GroupDroConfig
from asrlib.verification.config import VerificationConfig

SECTIONS = {
    "augment": AugmentConfig,
    "cohorts": CohortsConfig,
    "data": DataConfig,
    "decode": DecodeConfig,
    "features": FbankConfig,
    "group_dro": GroupDroConfig,
    "manifests": ValidationConfig,
    "membership": MembershipConfig,
    "mitigation": MitigationConfig,
    "mixtures": MixtureConfig,
    "publish": PublishConfig,
    "score": ScoreConfig,
    "speaker": SpeakerDataConfig,
    "tokens": TokensConfig,
    "train": TrainConfig,
    "verification": VerificationConfig,
}


def test_every_section_is_compared(repo):
    assert {path.stem for path in repo.glob("conf/*.yaml")} == set(SECTIONS)


@pytest.mark.parametrize("section", SECTIONS)
def test_yaml_and_dataclass_have_the_same_defaults(repo, section):
    loaded = load_config(SECTIONS[section], section, [repo / "conf" / f"{section}.yaml"])
    own = {
        name: field.get_default(call_default_factory=True)
        for name, field in SECTIONS[section].__pydantic_fields__.items()
        if not field.is_required()
    }
    assert {name: getattr(loaded, name) for name in own} == own


@pytest.mark.parametrize("section", SECTIONS)
def test_yaml_spells_out_every_key(repo, section):
    written = yaml.safe_load((repo / "conf" / f"{section}.yaml").read_text(encoding="utf-8"))
    loaded = load_config(SECTIONS[section], section, [repo / "conf" / f"{section}.yaml"])
    assert keys(to_dict(loaded)) == keys(written)


def keys(values: object) -> object:
    """The names in a nest of mappings."""
    return {k: keys(v) for k, v in values.items()} if isinstance(values, dict) else None
