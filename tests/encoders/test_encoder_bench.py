import pytest

from asrlib.encoders import AmortizedConfig, LstmConfig, LstmStackConfig
from asrlib.encoders.bench import measure_steps
from asrlib.encoders.toggles import ArbitratorConfig


def lstm(layers, units, subsampling=4):
    stack = LstmStackConfig(layers=layers, hidden_dim=units)
    return LstmConfig(lstm=stack, subsampling=subsampling, output_dim=16).build(8)


def amortized(kind, keep=0.9):
    config = AmortizedConfig(
        layers=2, dim=16, feedforward_dim=32, arbitrator=ArbitratorConfig(kind=kind, keep=keep)
    )
    return config.build(8)


def test_more_layers_and_units_take_longer_and_none_takes_no_time():
    costs = measure_steps({"small": lstm(1, 16), "large": lstm(4, 512)}, 32, 320, 2, 0.01)
    assert 0 < 2 * costs["small"].cpu < costs["large"].cpu
    assert costs["small"].work is None


@pytest.mark.parametrize(("wanted", "taken"), [(32, 33), (31, 30), (1, 3)])
def test_a_piece_is_the_multiple_of_the_subsampling_next_to_it(wanted, taken):
    assert measure_steps({"m": lstm(1, 8, subsampling=3)}, wanted, 60, 1, 0.01)["m"].frames == taken


def test_work_is_what_toggles_leave_on():
    keep = 0.3
    kinds = {
        "none": amortized("none"),
        "dual": amortized("dual"),
        "some": amortized("random", keep),
    }
    costs = measure_steps(kinds, 32, 4000, 1, 0.01)
    assert (costs["none"].work, costs["dual"].work) == (1.0, 1.0)
    block = kinds["some"].blocks[0]
    frame_by_frame = block.feedforward.multiplications + 4 * 16 * 16
    pairs = 65 * 2 * 16  # of 64 frames before and its own; both query and key must be on
    wanted = (keep * frame_by_frame + keep**2 * pairs) / (frame_by_frame + pairs)
    assert costs["some"].work == pytest.approx(wanted, abs=0.02)
