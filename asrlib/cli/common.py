"""Options and logging that the commands share."""

from __future__ import annotations

import dataclasses
import functools
import logging
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from asrlib.config import check_overrides
from asrlib.errors import ConfigError, UserError
from asrlib.recipe import Recipe
from asrlib.searches import SEARCHES


def recipe_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --recipe-dir and --set; the command gets them as a `Recipe`."""

    @click.option(
        "--recipe-dir",
        type=click.Path(file_okay=False, path_type=Path),
        required=True,
        help="The recipe's directory, for example egs/mini; it holds conf/, data/ and exp/.",
    )
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Override a configuration value. May be repeated.",
    )
    @functools.wraps(function)
    def wrapper(recipe_dir: Path, overrides: tuple[str, ...], **kwargs: Any) -> Any:
        if not recipe_dir.is_dir():
            raise UserError(f"{recipe_dir}: no such recipe directory", "choose one under egs/")
        recipe = Recipe(recipe_dir, overrides)
        check_overrides(overrides, recipe.sections())
        recipe.check_files()
        return function(recipe=recipe, **kwargs)

    return wrapper


def stage_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `recipe_options`, and --force for what is skipped if complete."""

    @click.option("--force", is_flag=True, help="Run again even if complete and unchanged.")
    @functools.wraps(function)
    def wrapper(recipe: Recipe, force: bool, **kwargs: Any) -> Any:
        return function(recipe=dataclasses.replace(recipe, force=force), **kwargs)

    return recipe_options(wrapper)


def _check_search(_: click.Context, option: click.Parameter, name: str | None) -> str | None:
    if name is not None and name not in SEARCHES:
        raise ConfigError(f"--search {name}: no such search", f"choose {', '.join(SEARCHES)}")
    return name


def membership_option(*, about: str) -> Callable[..., Any]:
    """Add the option --membership, what a model is told about the cohorts of the speakers.

    Args:
        about: text for the help.
    """
    return click.option("--membership", type=click.Choice(["true", "found", "unknown"]), help=about)


def _check_tag(_: click.Context, option: click.Parameter, tag: str | None) -> str | None:
    from asrlib.scoring.records import TAG

    if tag is not None and not TAG.fullmatch(tag):
        raise ConfigError(
            f"--tag '{tag}' cannot be part of a directory name",
            "use only letters, digits, '.', '+' and '-'",
        )
    return tag


def tag_option(*, about: str) -> Callable[..., Any]:
    """Add the option --tag, the name of settings of decoding.

    Args:
        about: text for the help.
    """
    return click.option("--tag", callback=_check_tag, help=about)


def search_option(*, about: str, default: str | None = None) -> Callable[..., Any]:
    """Add the option --search, the name of a decoding search.

    Args:
        about: text for the help, after the names of the searches.
        default: the search if the option is not given.
    """
    names = f"{', '.join(SEARCHES[:-1])} or {SEARCHES[-1]}"
    return click.option(
        "--search",
        callback=_check_search,
        default=default,
        show_default=default is not None,
        help=f"{names}, {about}.",
    )


threads_option = click.option(
    "--num-threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of torch threads.",
)


def command_line(recipe: Recipe, *own: str) -> str:
    """Return a command line that repeats the running command, to be kept beside its results.

    Args:
        recipe: the recipe, whose overrides are included.
        own: names of the command's parameters that determine its result; parameters without a
            value are left out.
    """
    context, words = click.get_current_context(), []
    flags = {option.name: option.opts[0] for option in context.command.params}
    for name in own:
        value = context.params.get(name)
        values = value if isinstance(value, tuple) else (value,)
        for given in values:
            if given is not None:
                words += [flags[name], shlex.quote(str(given))]
    words += [f"--set {shlex.quote(override)}" for override in recipe.overrides]
    what = [context.info_name or ""]
    while context.parent is not None and context.parent.parent is not None:
        context = context.parent
        what.insert(0, context.info_name or "")
    where = f"--recipe-dir {recipe.dir.parent.name}/{recipe.dir.name}"
    return " ".join(["python -m asrlib", *what, where, *words])


class _LogFile(logging.FileHandler):
    """A log file; an error in writing it prints one line on stderr, not a traceback."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        print(f"warning: {self.baseFilename}: {error.strerror}", file=sys.stderr)


def log_to(path: Path | None, quiet: bool = False) -> None:
    """Log to stderr and, if `path` is given, append to that file.

    Args:
        path: the file.
        quiet: whether only errors are logged, and to stderr alone, because another process of the
            same command logs all else.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if path is not None and not quiet:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(_LogFile(path))
    logging.basicConfig(
        level=logging.ERROR if quiet else logging.INFO,
        handlers=handlers,
        force=True,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
