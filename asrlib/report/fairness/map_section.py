"""The map of error rates by place."""

from __future__ import annotations

import numpy as np

from asrlib.cohorts.cells import map_cells
from asrlib.cohorts.places import coordinates
from asrlib.report.cell_map import cell_blocks
from asrlib.report.document import Section
from asrlib.report.fairness.collect import Fairness


def map_section(fairness: Fairness) -> list[Section]:
    """Shrunken error rates of cells of the map; nothing where nobody's place is known."""
    table, judged = fairness.speakers, fairness.judged
    if table is None or not judged:
        return []
    points_S2 = coordinates(table, fairness.public)
    known = dict(zip(table.speakers, points_S2, strict=True))
    errors: list[float] = []
    words: list[float] = []
    places = []
    for sums in judged[0].sums.values():
        for i, speaker in enumerate(sums.speakers):
            if sums.words_S[i] > 0 and speaker in known:
                places.append(known[speaker])
                errors.append(float(sums.errors_S[i]))
                words.append(float(sums.words_S[i]))
    placed = np.array(places).reshape(-1, 2)
    if np.isnan(placed).all():
        return []
    found = map_cells(placed, np.array(errors), np.array(words), fairness.public)
    return [Section("Where", cell_blocks(found))]
