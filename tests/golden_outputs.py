"""What each stage makes of a tiny input, in a form that is the same on every machine.

`python tests/golden_outputs.py` brings tests/golden/outputs.json up to date. It refuses where the
output of a stage changed and its version did not: stamps would take old outputs for new ones.

An output is a nest of plain values. What is discrete in it goes into a hash; numbers with a
fraction are kept, and compared with a tolerance, since processors round differently. Arrays are
kept as projections. Suffixes: T frames, F mel bins, N samples, K projections.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import asrlib  # noqa: F401, before torch: it decides how torch multiplies matrices

# isort: split
import numpy as np
import soundfile
import yaml
from lhotse import CutSet

REPO = Path(__file__).resolve().parents[1]
for folder in ("tests", "tests/data", "tests/streaming", "tests/verification", ""):
    sys.path.insert(0, str(REPO / folder))

from cohort_fakes import cohort_recipe  # noqa: E402
from command_fakes import call, in_process, write_recipe  # noqa: E402
from mixture_fakes import talkers_cuts  # noqa: E402
from scoring_fakes import planted_recipe, planted_speakers  # noqa: E402
from streaming_fakes import RATE, babble, loud_model, make_tokenizer, small_config  # noqa: E402
from verification_fakes import planted_table  # noqa: E402

from asrlib.checkpoint_file import save  # noqa: E402
from asrlib.data.manifests import write_cuts  # noqa: E402
from asrlib.data.raw import RawUtterance, raw_sets, read_raw, write_raw  # noqa: E402
from asrlib.encoders import LstmStackConfig, SeparatorConfig  # noqa: E402
from asrlib.features.fbank import FbankConfig  # noqa: E402
from asrlib.searches import TURN_SEARCHES  # noqa: E402
from asrlib.text.turns import TURNS_FILE, read_turns, write_turns  # noqa: E402
from asrlib.transducer.model_io import KIND, transducer_payload  # noqa: E402

FILE = REPO / "tests" / "golden" / "outputs.json"
COMMAND = ". ./path.sh && python tests/golden_outputs.py"
# The module and the name of each stage's version.
VERSIONS = {
    "manifests": ("asrlib.data.manifests", "MANIFESTS_VERSION"),
    "fbank": ("asrlib.features.extract", "FBANK_VERSION"),
    "tokens": ("asrlib.text.tokenizer", "TOKENS_VERSION"),
    "decode": ("asrlib.streaming.batch", "DECODE_VERSION"),
    "score": ("asrlib.scoring.score", "SCORE_VERSION"),
    "mixtures": ("asrlib.data.mixture_sets", "MIXTURES_VERSION"),
    "score-meetings": ("asrlib.meetings.score", "SCORE_MEETINGS_VERSION"),
    "cohorts": ("asrlib.cohorts.find", "COHORTS_VERSION"),
    "score-verification": ("asrlib.verification.score", "VERIFICATION_VERSION"),
}
RELATIVE, ABSOLUTE = 1e-3, 1e-4
# Measured, or of the machine and the release at hand.
VOLATILE = {"cpu_seconds", "wall_seconds", "real_time_factor", "peak_memory_mb", "machine"}
VOLATILE |= {"version", "storage_path", "storage_key"}


@dataclass(frozen=True)
class Golden:
    """An output, as tests/golden/outputs.json keeps it.

    Attributes:
        version: of the stage.
        sha256: of all that is discrete.
        numbers: with a fraction, in their order.
    """

    version: int
    sha256: str
    numbers: tuple[float, ...]

    @classmethod
    def of(cls, stage: str, output: Any) -> Golden:
        numbers: list[float] = []
        text = json.dumps(_without_fractions(output, numbers), sort_keys=True)
        rounded = tuple(float(f"{number:.6g}") for number in numbers)
        return cls(version_of(stage), hashlib.sha256(text.encode()).hexdigest(), rounded)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Golden:
        return cls(values["version"], values["sha256"], tuple(values["numbers"]))

    def same_output(self, other: Golden) -> bool:
        if (self.sha256, len(self.numbers)) != (other.sha256, len(other.numbers)):
            return False
        return np.allclose(self.numbers, other.numbers, rtol=RELATIVE, atol=ABSOLUTE)


def version_of(stage: str) -> int:
    module, name = VERSIONS[stage]
    return getattr(import_module(module), name)


def fault(stage: str, known: Golden | None, made: Golden) -> str | None:
    """What is to be done where the golden file and the code do not agree; None where they do."""
    module, name = VERSIONS[stage]
    if known is None or known.version != made.version:
        return f"{FILE.name} knows no version {made.version} of stage {stage}: run {COMMAND}"
    if known.same_output(made):
        return None
    path = f"{module.replace('.', '/')}.py"
    return f"the output of stage {stage} changed: raise {name} in {path} and run {COMMAND}"


def read_golden() -> dict[str, Golden]:
    if not FILE.exists():
        return {}
    entries = json.loads(FILE.read_text(encoding="utf-8"))
    return {stage: Golden.from_json(values) for stage, values in entries.items()}


def _without_fractions(value: Any, numbers: list[float]) -> Any:
    """`value` with a mark in place of each float, which goes to `numbers`."""
    if isinstance(value, float):
        numbers.append(value)
        return "number"
    if isinstance(value, Mapping):
        kept = sorted(key for key in value if key not in VOLATILE)
        return {str(key): _without_fractions(value[key], numbers) for key in kept}
    if isinstance(value, (list, tuple)):
        return [_without_fractions(item, numbers) for item in value]
    return value


# ---- outputs as plain values


def file_content(path: Path, recipe: Path) -> Any:
    """A text file, JSON parsed, without the place where the recipe lies."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    text = text.replace(str(recipe.resolve()), "RECIPE").replace(str(recipe), "RECIPE")
    if ".jsonl" in path.name:
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text) if path.suffix == ".json" else text.splitlines()


def projections(x_TK: np.ndarray) -> list[Any]:
    """Shape, mean and two further projections of each column: any change shows in one of them."""
    x_TK = np.asarray(x_TK, dtype=np.float64)
    waves = [np.ones(len(x_TK)), *(f(np.arange(len(x_TK))) for f in (np.cos, np.sin))]
    return [*x_TK.shape, *((wave_T @ x_TK / len(x_TK)).tolist() for wave_T in waves)]


# ---- stages


def run(*arguments: object) -> None:
    outcome = call(*arguments)
    assert outcome.code == 0, outcome.err


def early_stages(folder: Path) -> Iterator[tuple[str, Any]]:
    """Manifests with one silent file, features, tokens: of the tests' tiny recipe."""
    write_recipe(folder)
    raw = folder / "data" / "raw"
    rows = {name: read_raw(path) for name, path in raw_sets(raw).items()}
    soundfile.write(folder / "wav" / "silent.wav", np.zeros(16000), 16000)
    silent = RawUtterance(id="silent", audio="wav/silent.wav", text="ONE", speaker="train-s")
    write_raw(raw, {**rows, "train": [*rows["train"], silent]})
    options = ("--recipe-dir", folder, "--set", "manifests.error_budget=0.5")
    options += ("--set", "augment.speeds=[1.0,1.1]")
    with patch("asrlib.cli.fbank.run_array", in_process):
        for command in ("manifests", "fbank", "tokens"):
            run(command, *options)
    data = folder / "data"
    names = ("train/cuts.jsonl.gz", "test/cuts.jsonl.gz", "speakers.tsv", "quarantine.tsv")
    yield "manifests", [file_content(data / name, folder) for name in names]
    cuts = CutSet.from_file(data / "train" / "cuts_fbank.jsonl.gz")
    frames = {cut.id: cut.num_frames for cut in cuts}
    features = projections(np.concatenate([cut.load_features() for cut in cuts]))
    yield "fbank", [frames, features, file_content(data / "fbank" / "cmvn.json", folder)]
    yield "tokens", file_content(data / "lang" / "tokens.txt", folder)


def decoded(folder: Path) -> Iterator[tuple[str, Any]]:
    """Babble, decoded by models of random weights that are sure of what they say."""
    tokenizer = make_tokenizer(folder)
    single = small_config("lstm", "stateless", 32)
    separator = SeparatorConfig(
        lstm=LstmStackConfig(layers=1, hidden_dim=24, dropout=0.0), module_dim=24, output_dim=24
    )
    configs = {"single": (single, "hyp.jsonl")}
    configs["double"] = (replace(single, encoder=separator), TURNS_FILE)
    cuts = talkers_cuts(folder / "corpus", talkers=2, each=1).values()
    for number, cut in enumerate(cuts):
        samples_N = babble(cut.duration, seed=number).numpy()
        soundfile.write(cut.recording.sources[0].source, samples_N, RATE)
    write_cuts(folder / "data" / "test" / "cuts.jsonl.gz", cuts)
    output = []
    for name, (config, said) in configs.items():
        model = loud_model(config, tokenizer.vocab_size)
        payload = transducer_payload(model, tokenizer, FbankConfig())
        content = {"model": model.state_dict(), "payload": payload, "facts": {}}
        save(folder / "exp" / name / "final.pt", KIND, content)
        for search in TURN_SEARCHES:
            run("decode", "--recipe-dir", folder, "--name", name, "--search", search)
            out = folder / "exp" / name / f"decode_test_{search}"
            output += [file_content(out / file, folder) for file in (said, "meta.json")]
    yield "decode", output


def scored(folder: Path) -> Iterator[tuple[str, Any]]:
    from asrlib.cohort_file import COHORTS_FILE
    from asrlib.scoring.cohort_frame import cohort_scores_file
    from asrlib.scoring.score import OUTPUTS

    planted_recipe(folder)
    options = ("--recipe-dir", folder, "--set", "score.replicates=300")
    cohorts = folder / "cohorts"
    cohorts.mkdir()
    lines = [
        {"speaker": row["speaker"], "cohort": row["accent"], "split": "confirmation"}
        for row in planted_speakers()[1]
    ]
    (cohorts / COHORTS_FILE).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    run("score", "--name", "lstm", "--cohorts", cohorts, *options)
    out = folder / "exp" / "lstm" / "decode_test_greedy"
    yield (
        "score",
        [file_content(out / name, folder) for name in (*OUTPUTS, cohort_scores_file(cohorts.name))],
    )


def meetings(folder: Path) -> Iterator[tuple[str, Any]]:
    """Mixtures, and scores of a system that is late and loses every third turn's first word."""
    from asrlib.data.mixture_sets import FILES
    from asrlib.data.reference_turns import REFERENCE_FILE, REFERENCE_FILES
    from asrlib.meetings.score import OUTPUTS

    data = folder / "data"
    write_cuts(data / "test" / "cuts.jsonl.gz", talkers_cuts(folder / "corpus", each=4).values())
    (folder / "conf").mkdir()
    sets = {"sets": ["test"], "per_condition": 1, "conditions": ["0S", "OV30"]}
    (folder / "conf" / "mixtures.yaml").write_text(yaml.safe_dump(sets))
    run("mixtures", "--recipe-dir", folder)
    names = (*FILES, *REFERENCE_FILES)
    mixed = CutSet.from_file(data / "mix_test" / "cuts.jsonl.gz")
    audio = {cut.id: projections(cut.load_audio().T) for cut in mixed}
    yield "mixtures", [audio, *(file_content(data / "mix_test" / name, folder) for name in names)]
    heard = []
    for number, turn in enumerate(read_turns(data / "mix_test" / REFERENCE_FILE, "")):
        words = turn.words if number % 3 else turn.words.partition(" ")[2]
        late = {"sot_time": turn.start + 0.2, "eot_time": turn.end + 0.4}
        heard.append(replace(turn, speaker=None, words=words, **late))
    out = folder / "exp" / "sts" / "decode_mix_test_greedy"
    write_turns(out / TURNS_FILE, heard)
    (out / "meta.json").write_text(
        json.dumps({"model": "sts", "set": "mix_test", "search": "greedy"})
    )
    options = ("--set", "score.replicates=200", "--set", "score.timelines=1")
    run("score-meetings", "--recipe-dir", folder, "--name", "sts", *options)
    yield "score-meetings", [file_content(out / name, folder) for name in OUTPUTS]


def verified(folder: Path) -> Iterator[tuple[str, Any]]:
    """Verification of planted voices, by gender and by cohort."""
    from asrlib.cohort_file import COHORTS_FILE
    from asrlib.verification.score import VERIFICATION_FILE
    from asrlib.verification.scores import SCORES_FILE, ScoredTrials

    rows = ["speaker\tset\tgender"]
    for name, seed in (("test", 1), ("dev", 2)):
        table = planted_table([0.5, 1.0] * 5, utterances=4, seed=seed, prefix=name)
        out = folder / "exp" / "voices" / f"embeddings_{name}"
        out.mkdir(parents=True)
        table.write(out / "utterances.npz")
        rows += [f"{name}{s:03d}\t{name}\t{'fm'[s % 2]}" for s in range(10)]
    (folder / "data").mkdir()
    (folder / "data" / "speakers.tsv").write_text("\n".join(rows) + "\n")
    (folder / "cohorts").mkdir()
    cohorts = ("bottom", "top", "top")
    lines = [{"speaker": f"test{s:03d}", "cohort": cohorts[s % 3]} for s in range(10)]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / "cohorts" / COHORTS_FILE).write_text(text)
    options = [f"verification.{key}=100" for key in ("replicates", "permutations")]
    words = [word for option in options for word in ("--set", option)]
    words += ["--cohorts", str(folder / "cohorts")]
    run("score-verification", "--recipe-dir", folder, "--name", "voices", *words)
    out = folder / "exp" / "voices" / "verify_test"
    scored = ScoredTrials.read(out / SCORES_FILE)
    ends = projections(scored.scores_T[:, None])
    yield "score-verification", [file_content(out / VERIFICATION_FILE, folder), ends]


def cohorts(folder: Path) -> Iterator[tuple[str, Any]]:
    """Cohorts by place, column and voice: found, assigned, judged and explained."""
    from asrlib.cohort_file import COHORTS_FILE
    from asrlib.cohorts.confirm import CONFIRMATION_FILE
    from asrlib.cohorts.definition import DEFINITION_FILE
    from asrlib.cohorts.explain import EXPLANATION_FILE
    from asrlib.cohorts.find import FOUND_FILE

    methods = ("tree", "scan", "automatic", "metadata")
    config = {"methods": [*methods], "permutations": 9, "automatic": {"clusters": [2]}}
    cohort_recipe(folder, yaml.safe_dump(config))
    named = ("--recipe-dir", folder, "--name", "m")
    run("cohorts", "find", *named, "--embeddings", folder / "voices.npz")
    run("cohorts", "confirm", *named, "--set", "score.permutations=99")
    out = folder / "exp" / "cohorts"
    names = (DEFINITION_FILE, COHORTS_FILE, CONFIRMATION_FILE, EXPLANATION_FILE)
    output = [file_content(out / FOUND_FILE, folder)]
    for method in methods:
        run("cohorts", "explain", *named, "--method", method)
        output += [file_content(out / method / name, folder) for name in names]
    yield "cohorts", output


MAKERS: tuple[Callable[[Path], Iterator[tuple[str, Any]]], ...] = (
    early_stages,
    decoded,
    scored,
    meetings,
    verified,
    cohorts,
)


def made_outputs(folder: Path) -> dict[str, Golden]:
    """The output of every stage, made now."""
    found = {}
    for maker in MAKERS:
        recipe = folder / maker.__name__
        recipe.mkdir()
        for stage, output in maker(recipe):
            found[stage] = Golden.of(stage, output)
    return found


def main() -> None:
    known = read_golden()
    with TemporaryDirectory() as folder:
        made = made_outputs(Path(folder))
    faults = [
        fault(stage, known[stage], golden)
        for stage, golden in made.items()
        if stage in known and known[stage].version == golden.version
    ]
    for text in filter(None, faults):
        sys.exit(f"error: {text}")
    # What is the same but for rounding stays, so that a change of the file is a change of outputs.
    kept = {s: g if fault(s, known.get(s), g) else known[s] for s, g in made.items()}
    lines = [f"{json.dumps(stage)}: {json.dumps(vars(golden))}" for stage, golden in kept.items()]
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
