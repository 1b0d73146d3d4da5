"""The speaker table, speakers that sets share, and the choice of held-out speakers."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from asrlib.data.raw import TRAIN_SET, RawUtterance, Scalar
from asrlib.errors import DataError, first_few
from asrlib.files import atomic_write

FIRST_COLUMNS = ("speaker", "set", "gender", "age")


class SpeakerRows:
    """The rows of the speaker table: one per speaker and set, in the order of first appearance."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], dict[str, Scalar]] = {}

    def add(self, name: str, utterance: RawUtterance) -> None:
        """Add the speaker of an utterance of the set `name`.

        Raises:
            DataError: two utterances of the speaker disagree on gender, age or metadata.
        """
        u = utterance
        facts = {"gender": u.gender, "age": u.age, **u.speaker_meta}
        row = {"speaker": u.speaker, "set": name, **facts}
        known = self._rows.setdefault((u.speaker, name), row)
        if known != row:
            keys = {k for k in {*known, *row} if known.get(k) != row.get(k)}
            raise DataError(
                f"speaker {u.speaker}: utterance {u.id} disagrees with an earlier one on "
                + ", ".join(sorted(keys)),
                "write the same values into all rows of the speaker in the raw table",
            )

    def rows(self) -> list[dict[str, Scalar]]:
        """Return the rows."""
        return list(self._rows.values())


def check_shared_speakers(sets: Mapping[str, Iterable[RawUtterance]], permit: bool) -> None:
    """Refuse speakers of the training set in other sets; warn if other sets share speakers.

    A model makes fewer errors on the speakers that it was trained on than on others, so the error
    rates of such a set say too little about new speakers.

    Args:
        sets: raw rows by set.
        permit: whether shared training speakers, too, only give a warning.

    Raises:
        DataError: the training set shares speakers with another set, and that is not permitted.
    """
    sets_of: dict[str, list[str]] = {}
    for name, utterances in sets.items():
        for speaker in {u.speaker for u in utterances}:
            sets_of.setdefault(speaker, []).append(name)
    shared = {speaker: names for speaker, names in sets_of.items() if len(names) > 1}
    trained = {speaker: names for speaker, names in shared.items() if TRAIN_SET in names}
    if trained and not permit:
        raise DataError(
            f"the training set shares speakers with other sets: {_listed(trained)}; error rates "
            "would be lower than with new speakers",
            "move all utterances of a speaker into one set, or permit it with "
            "--set manifests.permit_shared_speakers=true or in the recipe's conf/manifests.yaml",
        )
    if shared:
        logging.warning(
            "some speakers are in more than one set: %s; error rates on known speakers are lower "
            "than with new ones",
            _listed(shared),
        )


def _listed(shared: Mapping[str, Sequence[str]]) -> str:
    """Name the first five speakers with their sets; if there are more, add the total."""
    named = [f"{speaker} in {', '.join(shared[speaker])}" for speaker in sorted(shared)]
    return first_few(named, separator="; ")


def write_speakers(path: Path, rows: Sequence[Mapping[str, Scalar]]) -> None:
    """Write a TSV table of speaker, set, gender, age and other metadata; empty where unknown."""
    others = sorted({key for row in rows for key in row} - set(FIRST_COLUMNS))
    text = io.StringIO()
    writer = csv.DictWriter(
        text, [*FIRST_COLUMNS, *others], delimiter="\t", lineterminator="\n", restval=""
    )
    writer.writeheader()
    writer.writerows({k: _cell(v) for k, v in row.items()} for row in rows)
    with atomic_write(path) as f:
        f.write(text.getvalue())


def _cell(value: Scalar) -> str:
    if isinstance(value, float) and float(value).is_integer():
        value = int(value)
    return "" if value is None else " ".join(str(value).split())


def hold_out_speakers(
    utterances: Sequence[RawUtterance],
    count: int,
    stratum: Callable[[RawUtterance], str] = lambda u: u.gender or "",
) -> tuple[list[RawUtterance], list[RawUtterance]]:
    """Hold out `count` speakers, each stratum in proportion, and the same speakers each time.

    A stratum of two or more speakers gives at least one and keeps at least one. Within a stratum,
    speakers are chosen by a hash of their ids. So the choice does not depend on their order, and
    changes little when speakers are added or removed. (This is our choice; no paper prescribes it.)

    Args:
        utterances: rows of all speakers.
        count: number of speakers to hold out; one from each stratum may be more than that.
        stratum: function that maps a speaker's first utterance to the speaker's stratum.

    Returns:
        The utterances of the remaining speakers and those of the held-out speakers, in given order.
    """
    strata: dict[str, list[str]] = {}
    first = {u.speaker: u for u in reversed(utterances)}
    for speaker, utterance in first.items():
        strata.setdefault(stratum(utterance), []).append(speaker)
    held: set[str] = set()
    for name, size in _shares({k: len(v) for k, v in strata.items()}, count).items():
        ranked = sorted(strata[name], key=lambda s: hashlib.sha256(s.encode()).digest())
        held.update(ranked[:size])
    rest = [u for u in utterances if u.speaker not in held]
    return rest, [u for u in utterances if u.speaker in held]


def _shares(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """Divide `count` in proportion to `sizes`; a share is from 1 to size - 1 (0 for size 1)."""
    total = sum(sizes.values())
    shares = {name: min(1, size - 1) for name, size in sizes.items()}
    while sum(shares.values()) < count:
        lacking = {k: count * sizes[k] / total - shares[k] for k in sizes}
        open_ = [k for k in sizes if shares[k] < sizes[k] - 1]
        if not open_:
            break
        shares[min(open_, key=lambda k: (-lacking[k], k))] += 1
    return shares
