"""Kaldi tables of made-up speakers, some of whom a made-up recogniser understands worse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from scoring_fakes import WORDS

from asrlib.cli.audit import command
from asrlib.embedding_table import EmbeddingTable


class Tables:
    """Tables of an audit in a directory, which a test may spoil before it runs the audit."""

    def __init__(self, folder: Path, speakers: int = 80, times: float = 1.0, seed: int = 0) -> None:
        """Write them; `times`: how many times as many errors accent `far` has."""
        rng = np.random.default_rng(seed)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.text: dict[str, str] = {}
        self.hyp: dict[str, str] = {}
        self.owner: dict[str, str] = {}
        self.rows = [["speaker", "gender", "age", "accent"]]
        self.vectors: dict[str, np.ndarray] = {}
        for s in range(speakers):
            speaker, far = f"s{s:03d}", s % 4 == 0
            rate = 0.1 * rng.gamma(6, 1 / 6) * (times if far else 1.0)
            age, gender = str(rng.integers(18, 70)), str(rng.choice(["f", "m"]))
            self.rows.append([speaker, gender, age, "far" if far else "near"])
            for u in range(3):
                ref = rng.choice(WORDS, 20)
                wrong = rng.random(20) < rate
                id = f"{speaker}-{u}"
                self.text[id], self.owner[id] = " ".join(ref), speaker
                self.hyp[id] = " ".join("X" if w else r for w, r in zip(wrong, ref, strict=True))
                self.vectors[id] = rng.normal(size=6) + 4.0 * far

    def write(self) -> list[str]:
        """Write all tables; return the options that name them."""
        contents = {"text": self.text, "hyp.txt": self.hyp, "utt2spk": self.owner}
        for name, table in contents.items():
            lines = [f"{key} {value}".rstrip(" ") + "\n" for key, value in table.items()]
            (self.folder / name).write_text("".join(lines), encoding="utf-8")
        rows = ["\t".join(row) + "\n" for row in self.rows]
        (self.folder / "speakers.tsv").write_text("".join(rows), encoding="utf-8")
        ids = tuple(self.vectors)
        owners = tuple(self.owner.get(id, id) for id in ids)
        vectors = np.array([self.vectors[id] for id in ids])
        EmbeddingTable(ids, owners, vectors).write(self.folder / "voices.npz")
        names = {"--ref": "text", "--hyp": "hyp.txt", "--utt2spk": "utt2spk"}
        names["--speakers"] = "speakers.tsv"
        return [word for k, v in names.items() for word in (k, str(self.folder / v))]

    @property
    def voices(self) -> list[str]:
        """The option that gives the embeddings."""
        return ["--embeddings", str(self.folder / "voices.npz")]

    def audit(self, *options: str) -> tuple[dict, str]:
        """Run the command; return audit.json and the page.

        Raises what the command raises.
        """
        out = self.folder / "out"
        words = [*self.write(), "--out", str(out), "--permutations", "199", *options]
        result = CliRunner().invoke(command, words)
        if result.exception is not None:
            raise result.exception
        page = (out / "audit.html").read_text(encoding="utf-8")
        return json.loads((out / "audit.json").read_text(encoding="utf-8")), page


def by_method(found: dict) -> dict[str, dict]:
    """What an audit searched, by method."""
    return {s["method"]: s for s in found["searched"]}
