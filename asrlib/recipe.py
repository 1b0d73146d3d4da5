"""A recipe directory: where its configuration, its data and its experiments lie."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from asrlib.config import load_choice, load_config, load_named
from asrlib.errors import ConfigError

T = TypeVar("T")

PROJECT_DIR = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Recipe:
    """A recipe directory (`egs/<corpus>`), and what the command line says about it.

    Attributes:
        dir: holds `conf/` (overlaying the project's), `data/` and `exp/`.
        overrides: `section.key=value` strings of `--set`.
        force: redo a stage although its stamp is current.
    """

    dir: Path
    overrides: tuple[str, ...] = ()
    force: bool = False

    def sections(self) -> set[str]:
        """The sections that `conf/` holds: the first parts of the keys of `--set`."""
        folders = (PROJECT_DIR / "conf", self.dir / "conf")
        return {p.stem for folder in folders for p in folder.glob("*")}

    def check_files(self) -> None:
        """See that no file of the recipe's `conf/` has a name that is nearly a section's.

        A recipe may have sections of its own, which its local/ programs read; but a `trian.yaml`
        would be read by nobody.

        Raises:
            ConfigError: names the file and the nearest section.
        """
        known = [p.stem for p in (PROJECT_DIR / "conf").glob("*")]
        for path in sorted((self.dir / "conf").glob("*")):
            near = difflib.get_close_matches(path.stem, known, n=1, cutoff=0.75)
            if path.stem not in known and near:
                raise ConfigError(
                    f"{path}: no section {path.stem}",
                    f"did you mean {near[0]}{path.suffix}? Rename the file",
                )

    @property
    def data(self) -> Path:
        return self.dir / "data"

    @property
    def exp(self) -> Path:
        return self.dir / "exp"

    def config(self, cls: type[T], section: str, name: str | None = None) -> T:
        """Load `conf/<section>.yaml`, or `conf/<section>/<name>.yaml` when `name` is given."""
        folders = [PROJECT_DIR / "conf", self.dir / "conf"]
        if name:
            return load_named(cls, section, name, folders, self.overrides)
        files = [folder / f"{section}.yaml" for folder in folders]
        return load_config(cls, section, files, self.overrides)

    def task(self, model: str, tasks: Collection[str]) -> str:
        """The `task` of `conf/model/<model>.yaml`: what it is that is trained.

        Args:
            tasks: those that it may be; a file that names none is a transducer's.

        Raises:
            ConfigError: it is another one; names the file and the nearest task.
        """
        folders = [PROJECT_DIR / "conf", self.dir / "conf"]
        return load_choice("task", tasks, "transducer", "model", model, folders, self.overrides)
