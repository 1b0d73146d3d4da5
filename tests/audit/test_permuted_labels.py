"""Labels that mean nothing: the audit confirms what it finds in them no more often than chance."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from audit_fakes import Tables

from asrlib.audit import search
from asrlib.audit.columns import choose_columns
from asrlib.audit.inputs import read_inputs
from asrlib.cohorts.config import CohortsConfig
from asrlib.cohorts.find import Settings, divide
from asrlib.cohorts.table import SpeakerTable
from asrlib.errors import DataError
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.wer import align, sum_by_speaker


@pytest.fixture
def search_only(monkeypatch):
    """A search that neither explains what it finds nor waits for the disk."""

    def unexplained(*_):
        raise DataError("not asked for", "ask")

    monkeypatch.setattr(search, "explain", unexplained)
    monkeypatch.setattr("os.fsync", lambda _: None)
    gc.freeze()  # statsmodels collects garbage at each correction
    yield
    gc.unfreeze()


def test_permuted_labels_confirm_nothing_in_19_of_20_permutations(tmp_path, search_only):
    tables = Tables(tmp_path, times=4.0)
    rng = np.random.default_rng(3)
    tables.rows[0] += ["latitude", "longitude"]
    for row in tables.rows[1:]:
        row += [f"{rng.uniform(25, 48):.1f}", f"{rng.uniform(-120, -70):.1f}"]
    tables.write()
    paths = (tmp_path / name for name in ("text", "hyp.txt", "utt2spk", "speakers.tsv"))
    inputs = read_inputs(*paths, "upper")
    columns, bands, _ = choose_columns(inputs.table, ("gender", "age", "accent"), {})
    config = CohortsConfig(min_speakers=5, permutations=0)
    settings = Settings(config, ("tree", "scan", "metadata"), columns, bands, public=True)
    aligned = align(inputs.utterances)
    errors = sum_by_speaker(aligned)
    confirmed = 0
    for seed in range(200):
        order_S = np.random.default_rng((4, seed)).permutation(len(inputs.table))
        table = SpeakerTable(inputs.table.speakers, inputs.table.select(order_S).columns)
        found = search.search_cohorts(
            *divide(table, bands, columns),
            aligned,
            errors,
            settings,
            Resampling(seed=seed, permutations=199),
            tmp_path / "out",
        )
        judged = [s.confirmation for s in found if s.confirmation is not None]
        assert len(judged) == 3
        confirmed += any(one.is_confirmed for one in judged)
    assert confirmed <= 10  # of 200
