"""Error rates on a map: a grid of cells, shrunken towards the overall rate.

Shapes: S speakers, C cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asrlib.cohorts.places import hidden, unique_places
from asrlib.cohorts.ranking import sum_groups
from asrlib.json_record import JsonRecord


@dataclass(frozen=True)
class MapCell(JsonRecord):
    """The speakers of one cell.

    Attributes:
        latitude, longitude: its middle, in degrees.
        speakers: number of speakers.
        errors, words: sums over them.
        shrunken: error rate, a fraction, pulled towards that of all speakers the more the less the
            speakers of the cell say.
    """

    latitude: float
    longitude: float
    speakers: int
    errors: float
    words: float
    shrunken: float


@dataclass(frozen=True)
class MapCells(JsonRecord):
    """The cells that may be shown.

    Attributes:
        hidden_cells, hidden_speakers: cells with too few speakers to be shown, and those speakers.
        unplaced_speakers: number of speakers without coordinates.
    """

    cells: tuple[MapCell, ...]
    hidden_cells: int
    hidden_speakers: int
    unplaced_speakers: int


def map_cells(
    points_S2: np.ndarray,
    errors_S: np.ndarray,
    words_S: np.ndarray,
    public: bool,
    degrees: float = 2.0,
) -> MapCells:
    """Add up the speakers of each cell.

    Args:
        points_S2: latitude and longitude, NaN where unknown.
        errors_S, words_S: sums of each speaker.
        public: whether cells of few speakers may be shown.
        degrees: side of a cell.
    """
    placed_S = ~np.isnan(points_S2).any(axis=1)
    corner_S2 = np.floor(points_S2[placed_S] / degrees)
    corner_C2, cell_S = unique_places(corner_S2)
    sums = sum_groups(cell_S, errors_S[placed_S], words_S[placed_S], len(corner_C2), least_tau=0.0)
    cells = [
        MapCell(
            float((corner_C2[c, 0] + 0.5) * degrees),
            float((corner_C2[c, 1] + 0.5) * degrees),
            int(sums.speakers_K[c]),
            float(sums.errors_K[c]),
            float(sums.words_K[c]),
            float(sums.smoothed_K[c]),
        )
        for c in range(len(corner_C2))
    ]
    small = [cell for cell in cells if hidden(cell.speakers, public)]
    return MapCells(
        cells=tuple(cell for cell in cells if not hidden(cell.speakers, public)),
        hidden_cells=len(small),
        hidden_speakers=sum(cell.speakers for cell in small),
        unplaced_speakers=int((~placed_S).sum()),
    )
