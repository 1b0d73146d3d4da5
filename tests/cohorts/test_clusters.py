import dataclasses

import numpy as np
import pytest
from cohort_fakes import people, settings

from asrlib.cohorts import clusters
from asrlib.cohorts.clusters import poisson_deviance
from asrlib.cohorts.config import AutomaticConfig
from asrlib.cohorts.find import find_cohorts
from asrlib.cohorts.search import CannotSearch
from asrlib.errors import DataError

FEW = AutomaticConfig(clusters=(20,), starts=2)


def test_the_planted_voice_is_found_and_confirmed():
    discovery, errors, _ = people(400, times=4.0)
    found = find_cohorts("automatic", discovery, errors, settings(automatic=FEW, permutations=19))
    new, _, there = people(400, seed=1, prefix="c")
    bottom = np.array([c == "bottom" for c in found.assign(new).cohorts])
    assert there[bottom].mean() > 0.7
    assert found.evidence.p_value == pytest.approx(1 / 20)


def test_the_number_of_clusters_with_the_lowest_held_out_deviance_is_taken():
    discovery, errors, _ = people(400, times=4.0)
    several = AutomaticConfig(clusters=(2, 20), starts=2)
    found = find_cohorts("automatic", discovery, errors, settings(automatic=several))
    assert len(found.rule.centroids) == 20


def test_many_speakers_are_clustered_by_mini_batches(monkeypatch):
    monkeypatch.setattr(clusters, "_MANY", 300)
    monkeypatch.setattr(clusters, "_BLOCK", 37)
    discovery, errors, there = people(400, times=4.0)
    found = find_cohorts("automatic", discovery, errors, settings(automatic=FEW))
    bottom = np.array([c == "bottom" for c in found.assign(discovery).cohorts])
    assert there[bottom].mean() > 0.7


def test_deviance_by_hand():
    assert poisson_deviance(np.array([0.0, 2.0]), np.array([1.0, 2.0])) == pytest.approx(2.0)


def test_measures_are_standardised_and_weigh_as_much_as_the_voice():
    discovery, errors, _ = people(400)
    measured = dataclasses.replace(FEW, measures=("snr_db", "level_dbfs"))
    rule = find_cohorts("automatic_measured", discovery, errors, settings(automatic=measured)).rule
    snr = discovery.numbers("snr_db")
    assert [m.column for m in rule.measures] == ["snr_db"]  # there is no column level_dbfs
    assert rule.measures[0].mean == pytest.approx(snr.mean())
    features = rule.features(discovery)
    assert features[:, :-1].var(axis=0, ddof=1).sum() == pytest.approx(1)
    assert features[:, -1].var() == pytest.approx(1)


def test_missing_embeddings_and_measures_are_unknown_and_counted():
    table, errors, _ = people(100)
    vectors = table.vectors_SD.copy()
    vectors[:3, 0] = np.nan
    vectors[3] = np.inf
    columns = {**table.columns, "snr_db": ("loud", *table.columns["snr_db"][1:-1], "")}
    table = dataclasses.replace(table, vectors_SD=vectors, columns=columns)
    found = find_cohorts("automatic_measured", table, errors, settings(automatic=FEW))
    assert found.unknown == {"no number in snr_db": 1, "no usable embedding": 4}
    assert found.speakers == 95
    assert [c for c in found.assign(table).cohorts if c == "unknown"] == ["unknown"] * 5


def test_what_cannot_be_clustered_is_said():
    table, errors, _ = people(30)
    run = settings(automatic=FEW)
    bare = dataclasses.replace(table, vectors_SD=None)
    equal = dataclasses.replace(table, vectors_SD=np.ones((30, 8)))
    lost = dataclasses.replace(table, vectors_SD=np.full((30, 8), np.nan))
    for speakers, reason in ((bare, "no embeddings"), (equal, "same embedding"), (lost, "usable")):
        with pytest.raises(CannotSearch, match=reason):
            find_cohorts("automatic", speakers, errors, run)
    plain = dataclasses.replace(table, columns={})
    with pytest.raises(CannotSearch, match="No column of measures"):
        find_cohorts("automatic_measured", plain, errors, run)


def test_embeddings_of_another_width_are_refused():
    table, errors, _ = people(60)
    found = find_cohorts("automatic", table, errors, settings(automatic=FEW))
    with pytest.raises(DataError, match="have 3 numbers"):
        found.assign(dataclasses.replace(table, vectors_SD=np.ones((60, 3))))
    with pytest.raises(DataError, match="clusters of embeddings"):
        found.assign(dataclasses.replace(table, vectors_SD=None))


def test_a_speaker_has_the_same_features_in_any_company():
    table, errors, _ = people(300)
    rule = find_cohorts("automatic", table, errors, settings(automatic=FEW)).rule
    together = rule.features(table)
    for s in (0, 7, 299):
        assert (rule.features(table.select(np.array([s])))[0] == together[s]).all()
