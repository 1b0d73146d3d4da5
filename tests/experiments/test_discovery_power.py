from dataclasses import replace
from pathlib import Path

import yaml

from asrlib.experiments import discovery_power
from asrlib.experiments.discovery_power import MINI, RULES, DiscoveryPower, simulate_discovery
from asrlib.experiments.store import read_plan

CORPUS = Path(__file__).resolve().parents[2] / "egs" / "mini" / "conf" / "corpus.yaml"
ONE_RATE = tuple(replace(group, rate=0.1) for group in MINI)


def test_groups_are_those_of_mini():
    corpus = yaml.safe_load(CORPUS.read_text())
    planted = {
        name: (
            group["speakers"]["discovery"],
            tuple(group.get("states", ())),
            tuple(group.get("zip_prefixes", ())),
        )
        for name, group in corpus["groups"].items()
    }
    ours = {g.name: (g.speakers, g.states, g.zip_prefixes) for g in MINI if g.name != "none"}
    assert ours == planted
    sizes = {corpus["sets"][half]["speakers"] for half in ("discovery", "confirmation")}
    assert sizes == {sum(group.speakers for group in MINI)}


def test_a_simulation_depends_on_its_seed_alone():
    one, same, other = (simulate_discovery(3, seed, "c") for seed in (1, 1, 2))
    assert one == same
    assert one.rules != other.rules
    assert DiscoveryPower.from_json(one.to_json()) == one


def test_what_is_planted_is_confirmed_where_it_was_planted():
    scan, _, oracle = simulate_discovery(12, 3, "c").rules
    assert scan.confirmed.hits >= 10
    assert scan.precision > 0.7 > scan.recall
    assert (oracle.confirmed.hits, oracle.precision, oracle.recall) == (12, 1.0, 1.0)


def test_without_an_effect_little_is_confirmed():
    """Bounds that a right method misses once in ten thousand runs of other seeds."""
    for rule in simulate_discovery(20, 3, "c", ONE_RATE).rules:
        assert rule.confirmed.hits <= 6


def test_homes_are_where_their_group_lives():
    homes = discovery_power._homes((MINI[0], replace(MINI[1], states=("MA",))))
    assert len(homes.of_group[0]) == len(homes.points_Z2) > 25_000
    assert homes.in_area_Z.sum() == len(homes.of_group[1]) > 300
    latitudes, longitudes = homes.points_Z2[homes.of_group[1]].T
    assert 41 < latitudes.min() < latitudes.max() < 43
    assert -74 < longitudes.min() < longitudes.max() < -69


def test_command_writes_the_figures_and_their_page(cli, tmp_path):
    result = cli("bench", "discovery", "--recipe-dir", tmp_path, "--draws", "10", "--seed", "4")
    assert result.exit_code == 0
    found = read_plan(tmp_path, "statistics").discovery
    assert (found.seed, found.draws) == (4, 10)
    page = (tmp_path / "results" / "statistics" / "README.md").read_text()
    assert found.command in page
    assert [rule.rule for rule in found.rules] == list(RULES)
    hits = 100 * found.rules[0].confirmed.value
    assert f"| scan | 100.0 % [69.2, 100.0] | {hits:.1f} % [" in page
    assert "a simulation" in (tmp_path / "RESULTS.md").read_text()
