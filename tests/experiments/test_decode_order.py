"""Hypotheses are written in the order of the cuts, and few wait for it."""

from collections import deque
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from asrlib.experiments.decode import in_order


@given(lengths=st.lists(st.integers(1, 9), max_size=60), streams=st.integers(1, 8))
def test_results_come_in_the_order_of_the_cuts(lengths, streams):
    """Streams of different lengths run side by side; the next cut starts when one ends."""
    order, waiting, most = deque(), 0, 0

    def decoded():
        nonlocal waiting, most
        left = {}
        cuts = iter(enumerate(lengths))
        while True:
            while len(left) < streams and (cut := next(cuts, None)):
                order.append(str(cut[0]))
                left[str(cut[0])] = cut[1]
            if not left:
                return
            left = {name: number - 1 for name, number in left.items()}
            for name in [name for name, number in left.items() if not number]:
                del left[name]
                waiting += 1
                yield SimpleNamespace(id=name), f"result {name}"
                most = max(most, waiting)

    found = []
    for cut, result in in_order(decoded(), order):
        waiting -= 1
        found.append((cut.id, result))
    assert found == [(str(i), f"result {i}") for i in range(len(lengths))]
    assert most <= streams * 9  # whatever the number of cuts
