import itertools

import numpy as np
import pytest
from cohort_fakes import settings

from asrlib.cohorts import geodemographic
from asrlib.cohorts.config import GeodemographicConfig
from asrlib.cohorts.definition import (
    DEFINITION_FILE,
    cohort_lines,
    read_definition,
    write_cohorts,
)
from asrlib.cohorts.find import find_cohorts
from asrlib.cohorts.geodemographic import read_attributes
from asrlib.cohorts.search import CannotSearch
from asrlib.cohorts.table import SpeakerTable
from asrlib.errors import DataError
from asrlib.scoring.wer import ErrorRate

NAMES = ("farm", "coast", "hill", "town")


def _shares(tmp_path, count=200, names=NAMES, seed=0):
    rng = np.random.default_rng(seed)
    path = tmp_path / "shares.csv"
    rows = [
        f"{10000 + i}," + ",".join(f"{x:.3f}" for x in rng.random(len(names))) for i in range(count)
    ]
    path.write_text("\n".join([",".join(("zip", *names)), *rows]) + "\n")
    return path


def _people(shares, rates, count=400, seed=1):
    rng = np.random.default_rng(seed)
    zips = [f"{10000 + i}" for i in rng.integers(0, 200, count)]
    words = rng.integers(50, 120, count)
    errors = [rng.poisson(rates[shares.of[z]] * n) for z, n in zip(zips, words, strict=True)]
    names = tuple(f"d{i}" for i in range(count))
    sums = [ErrorRate(0, 0, int(e), int(n)) for e, n in zip(errors, words, strict=True)]
    return SpeakerTable(names, {"zip": tuple(zips)}), dict(zip(names, sums, strict=True))


def _settings(path, **config):
    return settings(geodemographic=GeodemographicConfig(table=str(path), **config))


def _largest_gap(shares, table, errors, least):
    """Try every set of attributes as the bottom."""
    best, bottom = 0.0, None
    attributes = [shares.of[z] for z in table.column("zip")]
    for size in range(1, len(shares.names)):
        for part in itertools.combinations(shares.names, size):
            inside = [
                errors[s] for s, a in zip(table.speakers, attributes, strict=True) if a in part
            ]
            out = [
                errors[s] for s, a in zip(table.speakers, attributes, strict=True) if a not in part
            ]
            if min(len(inside), len(out)) < least:
                continue
            high, low = ErrorRate.sum(inside).rate, ErrorRate.sum(out).rate
            if (high - low) / low > best:
                best, bottom = (high - low) / low, part
    return best, bottom


@pytest.mark.parametrize("seed", range(5))
def test_the_partition_has_the_largest_gap(tmp_path, seed):
    path = _shares(tmp_path, seed=seed)
    shares = read_attributes(path)
    rates = dict(zip(NAMES, np.random.default_rng(seed).uniform(0.1, 0.3, 4), strict=True))
    table, errors = _people(shares, rates)
    definition = find_cohorts("geodemographic", table, errors, _settings(path))
    gap, bottom = _largest_gap(shares, table, errors, least=20)
    assert definition.rule.bottom == bottom
    assert definition.evidence.gap == pytest.approx(gap)
    assert set(definition.rule.top) == set(NAMES) - set(bottom)


def test_the_climb_finds_what_trying_all_partitions_finds(tmp_path):
    names = tuple(f"a{i}" for i in range(7))
    path = _shares(tmp_path, names=names)
    rates = dict(zip(names, np.linspace(0.1, 0.4, 7), strict=True))
    table, errors = _people(read_attributes(path), rates)
    climbed = find_cohorts("geodemographic", table, errors, _settings(path, exhaustive=2))
    assert climbed.rule == find_cohorts("geodemographic", table, errors, _settings(path)).rule


def test_the_majority_attribute(tmp_path):
    path = tmp_path / "shares.csv"
    path.write_text("zip,a,b\n03249,.6,.4\n10001,.5,.5\n20001,,\n3000,1,0\n40001,nan,.1\n")
    assert read_attributes(path).of == {"03249": "a", "10001": "a", "40001": "b"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("plz,a,b\n", "has no column zip"),
        ("zip,a\n", "no two attributes"),
        ("zip,a,b\n10001,half,1\n", "line 2: a share is no number"),
        ("zip,a,b\n10001\n", None),
    ],
)
def test_bad_tables(tmp_path, text, reason):
    path = tmp_path / "shares.csv"
    path.write_text(text)
    if reason is None:
        assert read_attributes(path).of == {}
    else:
        with pytest.raises(DataError, match=reason):
            read_attributes(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_attributes(tmp_path / "none.csv")


def test_speakers_without_a_zip_of_the_table_are_unknown_and_counted(tmp_path):
    path = _shares(tmp_path)
    shares = read_attributes(path)
    table, errors = _people(shares, dict(zip(NAMES, (0.1, 0.2, 0.3, 0.4), strict=True)))
    strange = ("", "SW1A 1AA", "99999", "1234")
    zips = (*strange, *table.column("zip")[4:])
    table = SpeakerTable(table.speakers, {"zip": zips})
    definition = find_cohorts("geodemographic", table, errors, _settings(path))
    assert definition.speakers == 396
    assert definition.assign(table).cohorts[:4] == ("unknown",) * 4
    assert sum(definition.unknown.values()) == 4
    assert definition.unknown["no zip code"] == 1
    nowhere = SpeakerTable(table.speakers, {"zip": ("75001 Paris",) * 400})
    with pytest.raises(CannotSearch, match="No speaker has a zip code"):
        find_cohorts("geodemographic", nowhere, errors, _settings(path))


def test_the_definition_keeps_the_table_and_refuses_another(tmp_path):
    path = _shares(tmp_path)
    table, errors = _people(
        read_attributes(path), dict(zip(NAMES, (0.1, 0.2, 0.3, 0.4), strict=True))
    )
    definition = find_cohorts("geodemographic", table, errors, _settings(path))
    expected = definition.assign(table)
    lines = cohort_lines(definition, table.speakers, expected, "discovery")
    assert {len(line["zip"]) for line in lines} == {3}
    write_cohorts(tmp_path / "out", definition, lines)
    path.unlink()
    moved = (tmp_path / "out").rename(tmp_path / "moved")
    assert read_definition(moved).assign(table) == expected
    copy, told = moved / geodemographic.COPY, moved / DEFINITION_FILE
    assert geodemographic.COPY in told.read_text()
    told.write_text(told.read_text().replace(geodemographic.COPY, "../secret.csv"))
    assert read_definition(moved).assign(table) == expected  # it names no file elsewhere
    copy.write_text(copy.read_text().replace("0.1", "0.2"))
    with pytest.raises(DataError, match="not the table"):
        read_definition(moved).assign(table)
