"""Parameter counts: of the papers' configs per module, and of the small ones.

The table of arXiv 2209.14868 gives sizes in millions. torch keeps two bias vectors per LSTM
where the paper's sums need one, so that LSTM modules come out up to 0.1 % larger; the other
tolerances are the rounding of the figures themselves, or are explained where they stand.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from asrlib.config import load_config
from asrlib.transducer import Transducer, TransducerConfig

PAPER_BINS, PAPER_VOCAB = 64, 2500
SMALL = ("lstm", "conv_rnnt", "conformer", "contextnet", "amortized")
# Equal or nearly so: the separator has one module more.
TALKERS = ("sts",)
PAPER = ("rnnt", "conv_rnnt", "conformer", "contextnet", "amortized", "sts")


def build(repo: Path, name: str, num_bins: int, vocab_size: int) -> Transducer:
    files = [repo / "conf" / "model" / f"{name}.yaml"]
    return Transducer(load_config(TransducerConfig, "model", files), num_bins, vocab_size)


def millions(*modules: nn.Module) -> float:
    return sum(p.numel() for module in modules for p in module.parameters()) / 1e6


@pytest.fixture(scope="module")
def conv_rnnt(repo: Path) -> Transducer:
    return build(repo, "paper/conv_rnnt", PAPER_BINS, PAPER_VOCAB)


@pytest.fixture(scope="module")
def rnnt(repo: Path) -> Transducer:
    return build(repo, "paper/rnnt", PAPER_BINS, PAPER_VOCAB)


def test_convolutions(conv_rnnt):
    encoder = conv_rnnt.encoder
    assert millions(encoder.local) == pytest.approx(2.9, rel=0.02)
    assert millions(*encoder.blocks) == pytest.approx(2.5, rel=0.03)
    # The paper's sum holds the Linear after the concatenation too.
    assert millions(encoder.local, encoder.blocks, encoder.merge) == pytest.approx(5.40, rel=0.01)


def test_lstm_encoder(conv_rnnt):
    # Six layers and a Linear are 18.86 by arithmetic; the paper prints 18.93 for seven.
    assert millions(conv_rnnt.encoder.lstm) == pytest.approx(18.93, rel=0.01)
    assert millions(conv_rnnt.encoder.lstm) == pytest.approx(18.86, rel=0.002)


@pytest.mark.parametrize("model", ["rnnt", "conv_rnnt"])
def test_joint_and_label_encoder(model, request):
    model = request.getfixturevalue(model)
    assert millions(model.joiner) == pytest.approx(1.28, rel=0.01)
    assert millions(model.joiner) * 1e6 == 512 * 2500 + 2500
    # 2500 x 256 are 0.64; the paper prints 0.62.
    assert millions(model.predictor.embedding) == pytest.approx(0.62, rel=0.04)
    assert millions(model.predictor.lstm, model.predictor.output) == pytest.approx(2.62, rel=0.01)


@pytest.mark.parametrize(("model", "total"), [("rnnt", 30), ("conv_rnnt", 29)])
def test_whole_models_without_what_only_training_needs(model, total, request):
    counts = request.getfixturevalue(model).parameter_counts()
    assert counts["training_only"] == 2 * (512 * 2500 + 2500)
    deployed = sum(counts.values()) - counts["training_only"]
    assert deployed / 1e6 == pytest.approx(total, abs=0.5)


@pytest.mark.parametrize(
    ("name", "paper", "ours"), [("conformer", 29, 26.9), ("contextnet", 28, 27.8)]
)
def test_baselines_beside_the_paper(repo, name, paper, ours):
    """The paper gives neither the Conformer's kernel nor its positions: 7 % remain open."""
    counts = build(repo, f"paper/{name}", PAPER_BINS, PAPER_VOCAB).parameter_counts()
    deployed = sum(counts.values()) - counts["training_only"]
    assert deployed / 1e6 == pytest.approx(ours, abs=0.05)
    assert deployed / 1e6 == pytest.approx(paper, rel=0.08)


def test_the_amortized_model(repo):
    """arXiv 2207.02393 gives no total: ours, with its 64 bins and 4,097 symbols."""
    counts = build(repo, "paper/amortized", 64, 4097).parameter_counts()
    deployed = sum(counts.values()) - counts["training_only"]
    assert deployed / 1e6 == pytest.approx(46.1, abs=0.05)


def test_separator_modules_are_two_layers_of_1024(repo):
    """The paper gives no totals; by arithmetic a layer of LSTM has 4 H (D + H + 2) weights."""
    model = build(repo, "paper/sts", PAPER_BINS, 2503)

    def module(dim: int) -> int:
        lstms = sum(4 * 1024 * (d + 1024 + 2) for d in (dim, 1024))
        return lstms + 2 * (dim + 1024) + 1024 * 640 + 640

    encoder = model.encoder
    assert millions(encoder.mixture) * 1e6 == module(3 * 64)
    for part in (*encoder.separators, encoder.recogniser):
        assert millions(part) * 1e6 == module(640)
    assert len(encoder.separators) == 2
    assert millions(encoder) == pytest.approx(61.7, abs=0.05)
    assert millions(model.joiner) * 1e6 == 2 * (640 * 512 + 512) + 512 * 2503 + 2503
    counts = model.parameter_counts()
    assert (sum(counts.values()) - counts["training_only"]) / 1e6 == pytest.approx(80.3, abs=0.05)


@pytest.mark.parametrize("vocab_size", [30, 500])
def test_the_small_models_are_of_equal_size(repo, vocab_size):
    sizes = []
    for name in SMALL:
        counts = build(repo, name, 80, vocab_size).parameter_counts()
        sizes.append(sum(counts.values()) - counts["training_only"])
    assert all(3.4e6 <= size <= 4.5e6 for size in sizes)
    assert max(sizes) / min(sizes) <= 1.05


@pytest.mark.parametrize("name", [*SMALL, *TALKERS, *(f"paper/{name}" for name in PAPER)])
def test_the_files_spell_out_every_key(repo, name):
    """A file that names every key of its config, so that a reader sees what can be changed."""
    from omegaconf import OmegaConf

    from asrlib.config import to_dict

    path = repo / "conf" / "model" / f"{name}.yaml"
    written = OmegaConf.to_container(OmegaConf.load(path))
    config = load_config(TransducerConfig, "model", [path])

    def keys(values: object) -> object:
        return {k: keys(v) for k, v in values.items()} if isinstance(values, dict) else None

    assert keys(written) == keys(to_dict(config))


def test_every_variant_loads_and_differs_from_its_base(repo):
    from asrlib.config import load_named, to_dict

    folder = repo / "conf" / "model"
    names = [p.relative_to(folder).with_suffix("").as_posix() for p in folder.glob("*/*.yaml")]
    variants = [name for name in names if not name.startswith(("paper/", "speaker/"))]
    loaded = {n: load_named(TransducerConfig, "model", n, [repo / "conf"]) for n in variants}
    arbitrators = {n: c.encoder.arbitrator for n, c in loaded.items() if "amortized" in n}
    learned = {a for a in arbitrators.values() if a.kind in ("single", "dual")}
    assert len(learned) == 12  # single or dual, feed-forward or LSTM; queries, keys or both
    assert {a.kind for a in arbitrators.values()} == {"none", "random", "single", "dual"}
    for name, config in loaded.items():
        base = load_named(TransducerConfig, "model", name.partition("/")[0], [repo / "conf"])
        # The file of `amortized` itself is the paper's best variant.
        assert name == "amortized/dual_lstm_both" or to_dict(config) != to_dict(base)
