import re
import warnings

from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.report import plots
from asrlib.scoring.latency import Histogram

NAMES = st.lists(
    st.text("abcdefghij_", min_size=1, max_size=30), min_size=1, max_size=40, unique=True
)


def texts(svg):
    return [text.strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def drawn(draw):
    """The texts of a drawing that is as large as it must be, and the same every time."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what does not fit is a warning
        svg = draw()
        assert draw() == svg
    return texts(svg)


@given(names=NAMES)
@settings(max_examples=8, deadline=None)
def test_every_curve_is_in_one_legend_however_many_there_are(names):
    lines = {f"M{name}N": [[(1, 2.0), (2, 1.0)], [(1, 3.0), (2, 0.5)]] for name in names}
    panels = {"Training loss": lines, "Dev loss": lines}
    found = drawn(lambda: plots.curves(panels, "step"))
    assert [found.count(name) for name in lines] == [1] * len(lines)


@given(names=NAMES)
@settings(max_examples=8, deadline=None)
def test_every_histogram_is_in_one_legend_however_many_there_are(names):
    series = {f"M{name}N": Histogram(start=-40, bin=40, counts=(3, 5, 1)) for name in names}
    found = drawn(lambda: plots.histograms({"Symbol delay": series, "Finalisation": series}))
    assert [found.count(name) for name in series] == [1] * len(series)


def test_lines_are_told_apart():
    looks = plots.line_looks(str(i) for i in range(24))
    assert len({tuple(look.items()) for look in looks.values()}) == 24
