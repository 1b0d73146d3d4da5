"""The files that are damaged, the commands that read them, and a recipe that holds them whole."""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import click
import cohort_fakes
from command_fakes import SETS, STAGES, call, in_process, write_recipe
from damage_audio import audio_kinds
from damage_texts import (
    Damage,
    any_file,
    json_names,
    json_rows,
    json_values,
    table_lines,
    table_names,
    texts,
)

from asrlib.cohorts.find import find_all
from asrlib.lm.kneser_ney import train_ngrams, write_arpa
from asrlib.text.tokenizer import SPECIALS, Tokenizer

REPO = Path(__file__).resolve().parents[1]
_DECODED = Path("exp/tiny/decode_test_greedy")
_GOOD = {f"{name}-{i}" for name, count in SETS.items() for i in range(count)}
_TEST = {"test-0", "test-1"}


@dataclass(frozen=True)
class Family:
    """A file, and the command that reads it.

    Attributes:
        file: below the recipe.
        command: its words; `{recipe}` stands for the recipe's directory.
        survivors: what the command's output holds of good items, given the recipe.
        good: what it has to hold.
        outputs: files below the recipe that a refusal leaves as they were.
        kinds: makes the damages by name.
        program: a program of a recipe's local/; None: `python -m asrlib`.
    """

    name: str
    file: Path
    command: tuple[str, ...]
    survivors: Callable[[Path], set[str]]
    good: set[str]
    outputs: tuple[Path, ...]
    kinds: Callable[[], Iterator[tuple[str, Damage]]]
    program: click.Command | None = None


def _ids(path: Path, key: str = "id") -> set[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", errors="surrogateescape") as lines:
        return {str(json.loads(line)[key]) for line in lines}


def _cut_ids(recipe: Path) -> set[str]:
    return set().union(*(_ids(recipe / "data" / name / "cuts.jsonl.gz") for name in SETS))


def program_of(recipe: str) -> ModuleType:
    """local/raw.py of another recipe, under a name of its own."""
    path = REPO / "egs" / recipe / "local" / "raw.py"
    spec = importlib.util.spec_from_file_location(f"raw_of_{recipe}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_CHECK = ("manifests", "--recipe-dir", "{recipe}", "--set", "manifests.error_budget=1")
_CUTS = tuple(Path(f"data/{name}/cuts.jsonl.gz") for name in ("train", "dev", "test"))
_SCORE = ("score", "--name", "tiny", "--recipe-dir", "{recipe}")
_SCORES = (_DECODED / "utt_counts.jsonl", _DECODED / "scores.json")
_ROW = {"id": "bad", "audio": "wav/bad.wav"}


def _fused(*options: str) -> tuple[str, ...]:
    return ("decode", "--name", "tiny", "--tag", "x", *options, "--recipe-dir", "{recipe}")


def _hyp_of(search: str) -> Callable[[Path], set[str]]:
    return lambda recipe: _ids(recipe / f"exp/tiny/decode_test_{search}_x/hyp.jsonl")


def _both(*families: Iterator[tuple[str, Damage]]) -> Callable[[], Iterator[tuple[str, Damage]]]:
    kinds = [*any_file(), *(kind for family in families for kind in family)]
    return lambda: iter(kinds)


def _arpa(**entries: str) -> dict[str, str]:
    head = "\\data\\\nngram 1={}\n\n\\1-grams:\n"
    return {
        name: head.format(lines.count("\n")) + lines + "\\end\\\n"
        for name, lines in entries.items()
    }


def families() -> list[Family]:
    """All files that are damaged."""
    scored = partial(Family, command=_SCORE, good=_TEST, outputs=_SCORES)
    counted: Callable[[Path], set[str]] = lambda r: _ids(r / _SCORES[0], "utterance")  # noqa: E731
    assigned: Callable[[Path], set[str]] = lambda r: _ids(r / "assigned.jsonl", "speaker")  # noqa: E731
    assign = ("cohorts", "assign", "{recipe}/exp/cohorts/tree", "--speakers", "{recipe}/people.tsv")
    assign += ("--out", "{recipe}/assigned.jsonl")
    people = {f"d{i:04d}" for i in range(60)}
    kaldi = ("--recipe-dir", "{recipe}")
    found = [
        Family("audio", Path("wav/bad.wav"), _CHECK, _cut_ids, _GOOD, _CUTS, audio_kinds),
        Family(
            "raw table",
            Path("data/raw/test.jsonl"),
            _CHECK,
            _cut_ids,
            _GOOD,
            _CUTS,
            _both(
                json_rows(_ROW, "id", "audio", "text", "speaker", "age", "start", "end"),
                json_rows(_ROW, "words", "custom", "speaker_meta", "gender"),
                json_names({"id": "bad"}, "audio"),
                json_names(_ROW, "id", "speaker", "text"),
            ),
        ),
        scored(
            name="hypotheses",
            file=_DECODED / "hyp.jsonl",
            survivors=counted,
            kinds=_both(
                json_rows({"id": "bad"}, "id", "speaker", "ref", "hyp", "duration"),
                json_rows({"id": "bad"}, "hyp_words", "ref_words", "final_time", "encoder_work"),
                json_names({"id": "bad"}, "id", "speaker", "hyp"),
            ),
        ),
        scored(
            name="meta.json",
            file=_DECODED / "meta.json",
            survivors=counted,
            kinds=_both(
                json_values("model", "set", "search", "audio_seconds", "machine", "threads")
            ),
        ),
        scored(
            name="speakers.tsv",
            file=Path("data/speakers.tsv"),
            survivors=counted,
            kinds=_both(
                table_lines("x", "x\ttest\tf\t1\t2\t3\t4", "\t\t\t", '"\t"', "test-s\ttest\tm\t"),
                table_names("{}\ttest\tf\t20"),
            ),
        ),
        scored(
            name="cohorts.jsonl",
            file=Path("exp/cohorts/own/cohorts.jsonl"),
            command=(*_SCORE, "--cohorts", "{recipe}/exp/cohorts/own"),
            survivors=counted,
            kinds=_both(
                json_rows({"speaker": "bad"}, "speaker", "cohort", "split", "method"),
                json_names({"speaker": "bad"}, "speaker", "cohort", "split"),
            ),
        ),
        Family(
            "definition.json",
            Path("exp/cohorts/tree/definition.json"),
            assign,
            assigned,
            people,
            (Path("assigned.jsonl"),),
            _both(json_values("method", "corpus", "cohorts", "rule", "rule.kind", "unknown")),
        ),
        Family(
            "speakers to assign",
            Path("people.tsv"),
            assign,
            assigned,
            people,
            (Path("assigned.jsonl"),),
            _both(table_lines("x", "\t\t", "d0001\t1\t1"), table_names("{}\t30.5\t-90.5")),
        ),
        Family(
            "language model",
            Path("lm.arpa"),
            _fused("--search", "modified_beam", "--set", "decode.lm.path=lm.arpa"),
            _hyp_of("modified_beam"),
            _TEST,
            (),
            _both(
                texts(
                    **_arpa(
                        not_a_number="x\t<s>\t0\n",
                        NaN="nan\t<s>\t0\n",
                        infinity="inf\t<s>\t0\n",
                        positive_log_probability="5\t<s>\n-1\t</s>\n",
                        no_end_of_sentence="-1\t<s>\n",
                        foreign_symbol="-1\t<s>\n-1\t\u05d0\n",
                        one_field="-1\n",
                        five_fields="-1\ta\tb\tc\td\n",
                        none_at_all="",
                    ),
                    many_announced="\\data\\\nngram 1=9" + "9" * 5000 + "\n\\end\\\n",
                    order_0="\\data\\\nngram 0=0\n\n\\0-grams:\n\\end\\\n",
                    order_2_alone="\\data\\\nngram 2=1\n\n\\2-grams:\n-1\t<s> </s>\n\\end\\\n",
                )
            ),
        ),
        Family(
            "hotwords",
            Path("hotwords.txt"),
            _fused("--search", "modified_beam", "--set", "decode.hotwords.path=hotwords.txt"),
            _hyp_of("modified_beam"),
            _TEST,
            (),
            _both(
                table_lines("ONE\tx", "ONE\tnan", "ONE\tinf", "ONE\t-1", "ONE\t0", "ONE\t1e400"),
                table_names("{}"),
            ),
        ),
        scored(
            name="configuration",
            file=Path("conf/score.yaml"),
            survivors=counted,
            kinds=_both(
                texts(
                    a_list="[1]\n",
                    a_number="3\n",
                    null="null\n",
                    tab="\treplicates: 100\n",
                    unknown_key="replicate: 100\n",
                    a_key_twice="replicates: 100\nreplicates: 200\n",
                    alias_of_itself="groups: &a [*a]\n",
                    a_billion_aliases="a: &a [x,x,x,x,x,x,x,x,x]\n"
                    + "".join(
                        f"{b}: &{b} [*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a}]\n"
                        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
                    ),
                    python_object="replicates: !!python/object/apply:os.system ['touch pwned']\n",
                    python_name="replicates: !!python/name:os.system\n",
                    a_date="replicates: 2020-01-01\n",
                    bytes="replicates: !!binary aGVsbG8=\n",
                    a_set="replicates: !!set {1}\n",
                    NaN="confidence: .nan\n",
                    infinity="confidence: .inf\n",
                    a_huge_number="replicates: 1" + "0" * 400 + "\n",
                    a_value_of_5000_digits="replicates: 1" + "0" * 5000 + "\n",
                    missing_value="replicates: ???\n",
                    interpolation="replicates: ${nowhere}\n",
                    interpolation_of_itself="replicates: ${replicates}\n",
                    environment="replicates: ${oc.env:HOME}\n",
                    unknown_resolver="replicates: ${os.system:ls}\n",
                    two_documents="replicates: 100\n---\nreplicates: 200\n",
                    key_that_is_a_list="[1, 2]: 3\n",
                    key_that_is_null="null: 3\n",
                    key_that_is_a_number="3: 3\n",
                )
            ),
        ),
        *(
            Family(
                name,
                Path(file),
                ("decode", "--name", "tiny", "--recipe-dir", "{recipe}"),
                lambda recipe: _ids(recipe / _DECODED / "hyp.jsonl"),
                _TEST,
                (_DECODED / "hyp.jsonl",),
                any_file,
            )
            for name, file in (
                ("checkpoint", "exp/tiny/final.pt"),
                ("cuts", "data/test/cuts.jsonl.gz"),
            )
        ),
        Family(
            "published run",
            Path("results/main/tiny.json"),
            ("results", "--recipe-dir", "{recipe}"),
            lambda recipe: {"page"} if (recipe / "exp/report.html").exists() else set(),
            {"page"},
            (),
            any_file,
        ),
        Family(
            "run.json",
            Path("exp/tiny/run.json"),
            ("publish", "--recipe-dir", "{recipe}"),
            lambda recipe: {"tiny"},
            {"tiny"},
            (Path("results/main/tiny.json"),),
            _both(json_values("name", "model", "plan", "config", "data", "start")),
        ),
    ]
    lines = {
        "wav.scp": ("bad", "bad nowhere.wav", "bad touch pwned |", "bad a b c", "test-0 x.wav"),
        "text": ("bad", "test-0 twice", "bad \u202ex"),
        "utt2spk": ("bad", "bad a b", "test-0 other"),
        "segments": (
            "bad",
            "bad r 1",
            "bad test-0 x y",
            "bad test-0 nan nan",
            "bad test-0 1 0",
            "bad test-0 -5 1",
            "bad test-0 0 1e308",
            "bad nowhere 0 1",
        ),
        "spk2age": ("test-s x", "test-s nan", "test-s -1", "test-s 1e400"),
        "spk2gender": ("bad", "test-s f m"),
    }
    names = {
        "wav.scp": "{} x.wav",
        "text": "{} x",
        "utt2spk": "bad {}",
        "segments": "{} test-0 0 1",
    }
    for table, more in lines.items():
        found.append(
            Family(
                f"Kaldi {table}",
                Path("kaldi/test") / table,
                kaldi,
                lambda recipe: _ids(recipe / "data/raw/test.jsonl"),
                _TEST,
                (),
                _both(table_lines(*more), table_names(names.get(table, "bad {}"))),
                program_of("kaldi_dir").command,
            )
        )
    return found


def prepare(directory: Path) -> Path:
    """A recipe with all that the commands read, whole; returns its directory."""
    directory.mkdir(parents=True)
    write_recipe(directory)
    (directory / "conf" / "score.yaml").write_text("replicates: 100\npermutations: 99\n")
    with patch("asrlib.cli.fbank.run_array", in_process):
        for stage in STAGES.values():
            done = call(*stage, "--recipe-dir", directory)
            assert done.code == 0, done.err
    own = directory / "exp" / "cohorts" / "own" / "cohorts.jsonl"
    own.parent.mkdir(parents=True)
    rows = [
        {"speaker": f"{s}-s", "cohort": "bottom", "split": "discovery"} for s in ("train", "test")
    ]
    own.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table, errors, _ = cohort_fakes.people(60, times=3.0)
    others, _, _ = cohort_fakes.people(60, seed=1, prefix="c")
    settings = cohort_fakes.settings()
    find_all(table, others, errors, settings, directory / "exp" / "cohorts", [])
    columns = ("latitude", "longitude")
    lines = ["\t".join(("speaker", *columns))]
    lines += [
        "\t".join(row)
        for row in zip(table.speakers, *(table.column(c) for c in columns), strict=True)
    ]
    (directory / "people.tsv").write_text("\n".join(lines) + "\n")
    _write_kaldi(directory)
    tokenizer = Tokenizer.from_file(directory / "data" / "lang" / "bpe.model")
    pieces = [tokenizer.piece(i) for i in range(len(SPECIALS), tokenizer.vocab_size)]
    write_arpa(train_ngrams([pieces], 1, pieces), directory / "lm.arpa")
    (directory / "hotwords.txt").write_text("ONE\t2\n")
    return directory


def _write_kaldi(recipe: Path) -> None:
    """The sets as Kaldi data directories, and the note that says where they are."""
    for name, count in SETS.items():
        folder = recipe / "kaldi" / name
        folder.mkdir(parents=True)
        ids = [f"{name}-{i}" for i in range(count)]
        tables = {
            "wav.scp": [f"{i} {recipe}/wav/{i}.wav" for i in ids],
            "text": [f"{i} ONE TWO" for i in ids],
            "utt2spk": [f"{i} {name}-s" for i in ids],
            "segments": [f"{i} {i} 0 1" for i in ids],
            "spk2gender": [f"{name}-s f"],
            "spk2age": [f"{name}-s 30"],
        }
        for table, lines in tables.items():
            (folder / table).write_text("\n".join(lines) + "\n")
    note = {"corpus_dir": str(recipe / "kaldi")}
    (recipe / "data" / "corpus.json").write_text(json.dumps(note))
