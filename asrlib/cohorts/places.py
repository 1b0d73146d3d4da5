"""Where speakers live: coordinates, zip codes, distances, and what may be written of them."""

from __future__ import annotations

import functools
import re

import numpy as np
import zipcodes

from asrlib.cohorts.table import SpeakerTable

EARTH_RADIUS_KM = 6371.0
MIN_SHOWN = 11  # a place with fewer speakers is hidden: its speakers could be recognised
SHOWN_DECIMALS = 1  # of latitude and longitude in degrees
_ZIP = re.compile(r"([0-9]{5})(-?[0-9]{4})?")


def five_digits(value: str) -> str:
    """Return the five digits of a United States zip code, "" if the text is no such code.

    >>> five_digits("03249-1234"), five_digits("3249"), five_digits("SW1A 1AA")
    ('03249', '', '')
    """
    match = _ZIP.fullmatch(value.strip())
    return match[1] if match else ""


@functools.cache
def _zip_places() -> dict[str, tuple[float, float]]:
    return {
        row["zip_code"]: (float(row["lat"]), float(row["long"]))
        for row in zipcodes.list_all()
        if row["lat"] and row["long"]
    }


def coordinates(table: SpeakerTable, public: bool) -> np.ndarray:
    """Return latitude and longitude of each speaker, in degrees (S, 2), NaN where unknown.

    They come from the columns `latitude` and `longitude`, else from the zip code. Numbers that
    are no place on Earth are unknown; so is (0, 0), which programs write for "no place".

    Args:
        public: whether exact places may be used; else they are rounded to 0.1 degree, so that
            nothing that is made from them can tell more.
    """
    points_S2 = np.stack([table.numbers("latitude"), table.numbers("longitude")], axis=1)
    wrong_S = (np.abs(points_S2) > [90.0, 180.0]).any(axis=1) | (points_S2 == 0).all(axis=1)
    points_S2[wrong_S | np.isnan(points_S2).any(axis=1)] = np.nan
    if "zip" in table.columns:
        places = _zip_places()
        for s in np.flatnonzero(np.isnan(points_S2[:, 0])):
            points_S2[s] = places.get(five_digits(table.columns["zip"][s]), (np.nan, np.nan))
    return points_S2 if public else np.round(points_S2, SHOWN_DECIMALS)


def shown_zip(value: str, public: bool) -> str:
    """Return a zip code as files may hold it: whole, or its first three digits."""
    digits = five_digits(value)
    return digits if public else digits[:3]


def hidden(speakers: int, public: bool) -> bool:
    """Return whether a map cell or a cohort of places has too few speakers to be shown."""
    return not public and speakers < MIN_SHOWN


def distances_km(centres_C2: np.ndarray, points_P2: np.ndarray) -> np.ndarray:
    """Great-circle distances (C, P) in km between places in degrees (haversine formula)."""
    lat_C1, lon_C1 = np.radians(centres_C2[:, :1]), np.radians(centres_C2[:, 1:])
    lat_P, lon_P = np.radians(points_P2[:, 0]), np.radians(points_P2[:, 1])
    half_CP = (
        np.sin((lat_P - lat_C1) / 2) ** 2
        + np.cos(lat_C1) * np.cos(lat_P) * np.sin((lon_P - lon_C1) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(half_CP, 1.0)))


def unique_places(points_S2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different places (P, 2) and the index of each speaker's place (S,)."""
    places_P2, index_S = np.unique(points_S2, axis=0, return_inverse=True)
    return places_P2, index_S.reshape(-1)
