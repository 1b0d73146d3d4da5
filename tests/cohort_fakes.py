"""Made-up speakers for the tests of asrlib.cohorts."""

import csv
from pathlib import Path

import numpy as np
from scoring_fakes import WORDS, entry, write_decode

from asrlib.cohorts.config import CohortsConfig
from asrlib.cohorts.find import Settings
from asrlib.cohorts.table import SpeakerTable
from asrlib.embedding_table import EmbeddingTable
from asrlib.scoring.records import read_utterances
from asrlib.scoring.utt_counts import COUNTS_FILE, count_line
from asrlib.scoring.wer import ErrorRate, align


def people(count, seed=0, prefix="d", times=1.0, dimension=8):
    """Speakers in the United States; around (33, -88) their error rate is `times` higher.

    Returns:
        The table, the errors of each speaker, and who lives there.
    """
    rng = np.random.default_rng(seed)
    latitude, longitude = rng.uniform(25, 48, count), rng.uniform(-120, -70, count)
    there = np.hypot(latitude - 33, longitude + 88) < 6
    words = rng.integers(50, 120, count)
    rate = 0.1 * rng.gamma(3, 1 / 3, count) * np.where(there, times, 1.0)
    errors = rng.poisson(rate * words)
    vectors = rng.normal(size=(count, dimension))
    vectors[there] += 4.0
    columns = {
        "latitude": [f"{x:.4f}" for x in latitude],
        "longitude": [f"{x:.4f}" for x in longitude],
        "gender": rng.choice(["f", "m"], count),
        "age": rng.integers(5, 70, count),
        "snr_db": [f"{x:.1f}" for x in rng.normal(20, 5, count)],
        "group": np.where(there, "planted", "none"),
    }
    names = tuple(f"{prefix}{i:04d}" for i in range(count))
    table = SpeakerTable(names, {k: tuple(map(str, v)) for k, v in columns.items()}, vectors)
    rates = [ErrorRate(0, 0, int(e), int(n)) for e, n in zip(errors, words, strict=True)]
    return table, dict(zip(names, rates, strict=True)), there


def settings(**config):
    """Settings with few permutations and small cohorts."""
    values = {"permutations": 0, "min_speakers": 11, **config}
    return Settings(
        CohortsConfig(**values), columns=("gender", "age"), bands={"age": (10.0, 16.0, 30.0)}
    )


def cohort_recipe(folder, config):
    """A recipe with decoded discovery and confirmation sets of model m, and voices.npz.

    Args:
        config: the text of conf/cohorts.yaml.
    """
    sets = {}
    for seed, name in enumerate(("discovery", "confirmation")):
        sets[name], errors, _ = people(150, seed=seed, prefix=name[0], times=5.0)
        _decode(folder, name, sets[name], errors)
    (folder / "conf").mkdir()
    (folder / "conf" / "cohorts.yaml").write_text(config)
    (folder / "data").mkdir()
    with open(folder / "data" / "speakers.tsv", "w", newline="") as f:
        columns = list(sets["discovery"].columns)
        writer = csv.writer(f, delimiter="\t")
        writer.writerow(["speaker", "set", *columns])
        for name, table in sets.items():
            rows = zip(table.speakers, *table.columns.values(), strict=True)
            writer.writerows([speaker, name, *values] for speaker, *values in rows)
    names = tuple(s for t in sets.values() for s in t.speakers)
    vectors = np.concatenate([t.vectors_SD for t in sets.values()])
    EmbeddingTable(tuple(f"{s}-1" for s in names), names, vectors).write(folder / "voices.npz")
    return folder


def write_counts(decode: Path) -> None:
    """Write the counts of each utterance of a decode, as stage 6 does."""
    lines = map(count_line, align(read_utterances(decode / "hyp.jsonl")))
    (decode / COUNTS_FILE).write_text("".join(lines))


def _decode(recipe, name, table, errors):
    rng = np.random.default_rng(0)
    entries = []
    for speaker in table.speakers:
        wrong = rng.permutation(60) < 60 * min(errors[speaker].rate, 1)
        ref = rng.choice(WORDS, 60)
        hyp = ["X" if w else word for w, word in zip(wrong, ref, strict=True)]
        entries.append(entry(f"{speaker}-1", speaker, " ".join(ref), " ".join(hyp)))
    folder = write_decode(recipe / "exp" / "m" / f"decode_{name}_greedy", entries)
    write_counts(folder)
