"""Options that all stage commands share, and the recipe they point at."""

from __future__ import annotations

import difflib
import functools
import logging
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from asrlib.config import check_sections, load_config, load_named
from asrlib.errors import ConfigError, UserError

T = TypeVar("T")

PROJECT_DIR = Path(__file__).resolve().parents[2]


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


def recipe_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --recipe-dir, --set and --force; the command receives them as one `recipe`."""

    @click.option(
        "--recipe-dir",
        type=click.Path(file_okay=False, path_type=Path),
        required=True,
        help="The recipe, for example egs/mini: holds conf/, data/ and exp/.",
    )
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Override a configuration value; may be given again.",
    )
    @click.option("--force", is_flag=True, help="Redo although complete and unchanged.")
    @functools.wraps(function)
    def wrapper(recipe_dir: Path, overrides: tuple[str, ...], force: bool, **kwargs: Any) -> Any:
        if not recipe_dir.is_dir():
            raise UserError(f"{recipe_dir}: no such recipe directory", "choose one under egs/")
        recipe = Recipe(recipe_dir, overrides, force)
        check_sections(overrides, recipe.sections())
        recipe.check_files()
        return function(recipe=recipe, **kwargs)

    return wrapper


def command_line(recipe: Recipe, *own: str) -> str:
    """What repeats the command at hand, its overrides included: it is kept beside its results.

    Args:
        own: parameters of this command that say what it did; those that were not given are
            left out.
    """
    context, words = click.get_current_context(), []
    for name in own:
        value = context.params.get(name)
        values = value if isinstance(value, tuple) else (value,)
        for given in values:
            if given is not None:
                words += [f"--{name.replace('_', '-')}", shlex.quote(str(given))]
    words += [f"--set {shlex.quote(override)}" for override in recipe.overrides]
    what = [context.info_name or ""]
    while context.parent is not None and context.parent.parent is not None:
        context = context.parent
        what.insert(0, context.info_name or "")
    where = f"--recipe-dir {recipe.dir.parent.name}/{recipe.dir.name}"
    return " ".join(["python -m asrlib", *what, where, *words])


class _LogFile(logging.FileHandler):
    """A log that cannot be written is one line on the standard error, not a traceback."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        print(f"warning: {self.baseFilename}: {error.strerror}", file=sys.stderr)


def log_to(path: Path | None) -> None:
    """Log to stderr and, when given, to `path` (appended)."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(_LogFile(path))
    logging.basicConfig(
        level=logging.INFO,
        handlers=handlers,
        force=True,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
