import numpy as np
import pytest
from scipy import stats

from asrlib.experiments import simulation
from asrlib.experiments.simulation import MODELS, Share, Simulation, SpeakerErrorModel, simulate
from asrlib.experiments.store import SIMULATION_FILE, read_plan
from asrlib.report.results_page import write_pages


@pytest.fixture
def small(monkeypatch):
    for name, value in {
        "SPEAKERS": (5, 9),
        "RATES": (0.1,),
        "GROUPS": ((3, 8),),
        "POWER_SIZES": ((20, 20),),
        "HALF": 60,
        "CLUSTERS": 5,
        "_PERMUTATIONS": 99,
    }.items():
        monkeypatch.setattr(simulation, name, value)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("mean", [0.02, 0.8])
def test_speakers_have_the_mean_and_the_spread_of_their_model(kind, mean):
    model = SpeakerErrorModel(cv=0.5, high_cv=0.15, words=(200, 400))
    drawn = model.draw(np.random.default_rng(1), 20_000, mean, kind)
    assert drawn.rate == pytest.approx(mean, rel=0.03)
    spread = 0.5 * mean
    if kind == "beta" and mean > 0.5:
        spread = 0.15 * mean
    elif kind == "skewed":
        spread = stats.beta(2, 2 / mean - 2).std()
    noise = mean / 300 * (1 if kind == "gamma" else 1 - mean)
    rates = drawn.errors_S / drawn.words_S
    assert rates.std() == pytest.approx((spread**2 + noise) ** 0.5, rel=0.05)
    assert drawn.words_S.min() == 200
    assert drawn.words_S.max() == 400


def test_shares_have_exact_intervals():
    found = Share.of([True] * 9 + [False])
    assert (found.hits, found.draws, found.value) == (9, 10, 0.9)
    assert stats.binom.sf(8, 10, found.interval.low) == pytest.approx(0.025)


def test_a_simulation_depends_on_its_seed_alone(small):
    one, same, other = (simulate(SpeakerErrorModel(), 12, seed, "c") for seed in (1, 1, 2))
    assert one == same
    assert one.coverage != other.coverage
    assert Simulation.from_json(one.to_json()) == one
    assert {c.speakers for c in one.coverage} == {5, 9}
    assert all(c.covered.draws == 12 for c in one.coverage)
    assert one.power[0].gap > 0


def test_the_statistics_are_about_right(small):
    """Bounds that a right method misses once in ten thousand runs of other seeds."""
    found = simulate(SpeakerErrorModel(), 100, 3, "c")
    assert all(c.covered.hits >= 84 for c in found.coverage)
    for alarms in found.alarms:
        assert alarms.by_test.hits <= 15
        assert alarms.by_interval.hits <= 15
    assert found.confirmed[0].confirmed.hits <= 15
    assert found.confirmed[0].median_found > 40 > abs(found.confirmed[0].median_confirmed)
    assert 63 <= found.power[0].shown.hits <= 94


def test_command_writes_the_figures_and_their_page(small, cli, tmp_path):
    result = cli("bench", "statistics", "--recipe-dir", tmp_path, "--draws", "10", "--seed", "4")
    assert result.exit_code == 0
    plan = read_plan(tmp_path, "statistics")
    assert plan.simulation.seed == 4
    assert plan.simulation.command.endswith("--draws 10 --seed 4")
    page = (tmp_path / "results" / "statistics" / "README.md").read_text()
    assert plan.simulation.command in page
    cell = plan.simulation.coverage[0].covered
    assert f"| gamma-Poisson | 10 | {100 * cell.value:.1f} % [" in page
    assert "a simulation" in (tmp_path / "RESULTS.md").read_text()
    assert all(path.exists() for path in write_pages(tmp_path))


def test_a_broken_file_is_skipped_with_its_reason(tmp_path):
    path = tmp_path / "results" / "statistics" / SIMULATION_FILE
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    plan = read_plan(tmp_path, "statistics")
    assert plan.simulation is None
    assert plan.skipped[0].path == f"results/statistics/{SIMULATION_FILE}"
