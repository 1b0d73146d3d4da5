"""A recipe directory, with its configuration, its data and its experiments."""

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
    """A recipe directory (`egs/<corpus>`), and the options of the command line that concern it.

    Attributes:
        dir: directory that holds `conf/`, `data/` and `exp/`. Its `conf/` replaces values of the
            project's `conf/`.
        overrides: `section.key=value` strings of `--set`.
        force: whether a stage runs again although its stamp is current.
    """

    dir: Path
    overrides: tuple[str, ...] = ()
    force: bool = False

    def sections(self) -> dict[str, Path | None]:
        """Return the sections of `conf/`, which are the first parts of the keys of `--set`.

        With each comes the project's file, which has all of its keys. It is None for a directory
        of files, such as `conf/model`, and for a section of the recipe's own, whose file may leave
        out keys.
        """
        found: dict[str, Path | None] = {}
        for folder in (self.dir / "conf", PROJECT_DIR / "conf"):
            for path in folder.glob("*"):
                if path.is_dir() or path.suffix == ".yaml":
                    free = path.is_dir() or folder != PROJECT_DIR / "conf"
                    found[path.stem] = None if free else path
        return found

    def check_files(self) -> None:
        """Check that no file of the recipe's `conf/` has a misspelt section as its name.

        A recipe may have sections of its own, which its programs in local/ read. But a file
        `trian.yaml` would be ignored without an error.

        Raises:
            ConfigError: a name is close to that of a section; the message names the file and the
                section.
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
        """Return the `task` of `conf/model/<model>.yaml`, the kind of model that is trained.

        Args:
            model: name of the model.
            tasks: valid tasks. A file without the key `task` is for a transducer.

        Raises:
            ConfigError: the task is not valid; the message names the file and the nearest task.
        """
        folders = [PROJECT_DIR / "conf", self.dir / "conf"]
        return load_choice("task", tasks, "transducer", "model", model, folders, self.overrides)
