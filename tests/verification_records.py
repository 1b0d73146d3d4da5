"""A verification result with a small group, for the tests of reports and of the store."""

from asrlib.scoring.gaps import Resampling
from asrlib.scoring.speaker_sums import Interval
from asrlib.verification.records import (
    Disparity,
    EqualErrorRate,
    GroupRates,
    GroupTable,
    Rate,
    Threshold,
    Verification,
)

DET = ((100.0, 0.0), (20.0, 4.0), (9.0, 9.0), (1.0, 30.0), (0.0, 100.0))


def system(name="none", percent=9.0, **changes):
    rate = Rate(9, 100, Interval(5.0, 14.0))
    equal = EqualErrorRate(percent, Interval(5.0, 14.0), 0.5, 9, 100, 90, 1000)
    groups = tuple(GroupRates(v, 5, 5, 50, rate, rate, equal, v != "x") for v in ("f", "m", "x"))
    gap = Disparity("m", "f", 3.5, Interval(-1.0, 8.0), 1.5, Interval(0.9, 2.4), 1.75, 4.2, 0.08)
    tables = {"gender": GroupTable(groups, {"misses": gap})}
    values = {
        "version": "0",
        "name": name,
        "set": "test",
        "trials": "all",
        "impostors": "same_group",
        "utterances": 100,
        "unusable": 0,
        "speakers": 10,
        "target_speakers": 10,
        "targets": 100,
        "impostor_trials": 1000,
        "eer": equal,
        "min_dcf": 0.75,
        "p_target": 0.01,
        "threshold": Threshold(0.5, "given"),
        "misses": rate,
        "false_alarms": rate,
        "groups": tables,
        "det": DET,
        "resampling": Resampling(),
    }
    return Verification(**{**values, **changes})
