"""Laws of the adaptation of a trained transducer, each by training a tiny one."""

from __future__ import annotations

import dataclasses
import os
import signal

import pytest
import torch
import yaml
from mitigation_fakes import START, adapt, save_model, weights, write_cohort_recipe
from small_transducer import CONFIG, transducer

from asrlib.config import to_dict
from asrlib.encoders import ConvRnntConfig, LstmStackConfig
from asrlib.layers.progress import is_progress
from asrlib.mitigation import build
from asrlib.mitigation.anchor import Anchor
from asrlib.mitigation.fisher import Fisher, decoding_weights
from asrlib.mitigation.task import AdaptTask
from asrlib.transducer.model_io import load_transducer

METHOD = "mitigation.adaptation.method="
STRENGTH = "mitigation.adaptation.strength="


@pytest.fixture
def recipe(tmp_path):
    return write_cohort_recipe(tmp_path / "egs")


def moved(recipe, path) -> dict[str, float]:
    """The largest change of each weight, as a share of its tensor's largest value."""
    start, end = weights(recipe / START), weights(path)
    return {
        name: float((end[name] - w).abs().max() / w.abs().max().clamp(min=1e-12))
        for name, w in start.items()
    }


def equal(one, other) -> bool:
    ours, theirs = weights(one), weights(other)
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def with_fisher(monkeypatch, diagonal) -> None:
    monkeypatch.setattr(build, "fisher_of", lambda *_: Fisher(diagonal, 1.0, 1))


def ones() -> dict[str, torch.Tensor]:
    return {k: torch.ones_like(w) for k, w in decoding_weights(transducer()).items()}


def test_strength_0_is_fine_tuning_bit_for_bit(recipe):
    plain = adapt(recipe, "plain", f"{METHOD}finetune")
    for method in ("l2", "ewc"):
        assert equal(adapt(recipe, method, METHOD + method, f"{STRENGTH}0"), plain)
    assert max(moved(recipe, plain).values()) > 1e-4


def test_fisher_information_of_1_is_l2_bit_for_bit(recipe, monkeypatch):
    l2 = adapt(recipe, "l2", f"{METHOD}l2", f"{STRENGTH}1000")
    with_fisher(monkeypatch, ones())
    ewc = adapt(recipe, "ewc", f"{METHOD}ewc", f"{STRENGTH}1000")
    assert equal(ewc, l2)
    assert not equal(ewc, adapt(recipe, "weak", f"{METHOD}ewc", f"{STRENGTH}10"))


def test_a_great_strength_holds_every_weight(recipe):
    held = moved(recipe, adapt(recipe, "held", f"{METHOD}l2", f"{STRENGTH}1e12"))
    assert max(held.values()) <= 1e-6


def test_an_infinite_strength_gives_the_start_exactly_and_no_information_gives_freedom():
    model = transducer()
    start = {n: w.detach().clone() for n, w in model.named_parameters()}
    free = "joiner.output_linear.bias"
    fisher = {n: torch.full_like(w, 0.0 if n == free else 1e30) for n, w in start.items()}
    anchor = Anchor(model, 1e30, fisher)  # c overflows to infinity
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1234567)
    before = dict(model.named_parameters())[free].detach().clone()
    anchor.pull(0.1)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before if name == free else start[name])


def test_a_weight_without_fisher_information_moves_as_in_fine_tuning(recipe, monkeypatch):
    free = "joiner.output_linear.weight"
    with_fisher(monkeypatch, ones() | {free: torch.zeros_like(ones()[free])})
    one = "train.max_steps=1"
    plain = weights(adapt(recipe, "plain", f"{METHOD}finetune", one))
    held = adapt(recipe, "held", f"{METHOD}ewc", f"{STRENGTH}1e12", one)
    assert torch.equal(weights(held)[free], plain[free])
    shares = moved(recipe, held)
    assert shares.pop(free) > 1e-4
    assert max(shares.values()) <= 1e-6


def test_the_proximal_step_minimises_penalty_and_distance():
    """theta = (updated + c start) / (1 + c), which is where the derivative of both is 0."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    layer = torch.nn.Module()
    layer.w = weight
    anchor = Anchor(layer, 5.0, {"w": torch.tensor([0.0, 1.0, 40.0])})
    with torch.no_grad():
        weight += 1.0
    anchor.pull(0.1)
    c = torch.tensor([0.0, 0.5, 20.0])
    expected = torch.tensor([1.0, -2.0, 3.0]) + 1.0 / (1.0 + c)
    assert torch.allclose(weight, expected)
    gradient = torch.autograd.grad(anchor.penalty(), weight)[0]
    assert torch.allclose(gradient, 5.0 * torch.tensor([0.0, 1.0, 40.0]) / (1.0 + c))


def test_the_penalty_in_the_loss_is_another_form(recipe):
    form = "mitigation.adaptation.form=loss"
    plain = adapt(recipe, "plain", f"{METHOD}finetune")
    inside = adapt(recipe, "inside", f"{METHOD}l2", f"{STRENGTH}1e6", form)
    proximal = adapt(recipe, "proximal", f"{METHOD}l2", f"{STRENGTH}1e6")
    assert not equal(inside, plain)
    assert not equal(inside, proximal)
    # Adam rescales the gradient, so even this strength does not hold the weights.
    name = "joiner.output_linear.weight"
    assert moved(recipe, inside)[name] > 10 * moved(recipe, proximal)[name]


@pytest.mark.parametrize("part", ["encoder", "predictor", "joiner", "whole"])
def test_only_the_part_moves_and_training_heads_never(recipe, part):
    only = f"mitigation.adaptation.part={part}"
    shares = moved(recipe, adapt(recipe, part, f"{METHOD}finetune", only))
    parts = ("encoder", "predictor", "joiner") if part == "whole" else (part,)
    trained = set(decoding_weights(transducer(), parts))
    assert {name for name, share in shares.items() if share > 0} <= trained
    assert sum(shares[name] > 0 for name in trained) >= 2


def test_batch_statistics_stay_those_of_the_start(recipe):
    encoder = ConvRnntConfig(
        dim=16,
        local_channels=(4,),
        global_blocks=1,
        lstm=LstmStackConfig(layers=1, hidden_dim=16),
        output_dim=16,
    )
    config = dataclasses.replace(CONFIG, encoder=encoder)
    (recipe / "conf/model/tiny.yaml").write_text(yaml.safe_dump(to_dict(config)))
    model = transducer(config)
    buffers = dict(model.named_buffers())
    generator = torch.Generator().manual_seed(1)
    for name in buffers:
        if "running" in name:
            buffers[name].copy_(torch.rand(buffers[name].shape, generator=generator) + 0.5)
    save_model(model, recipe / START)
    adapted = load_transducer(adapt(recipe, "conv", f"{METHOD}finetune", "train.max_steps=2")).model
    kept = {n: b for n, b in adapted.named_buffers() if not is_progress(n)}
    assert sum("running" in name for name in kept) >= 4
    for name, buffer in kept.items():
        assert torch.equal(buffer, buffers[name]), name
    assert not torch.equal(adapted.joiner.output_linear.weight, model.joiner.output_linear.weight)


def test_killed_and_continued_equals_uninterrupted(recipe):
    ewc = (f"{METHOD}ewc", f"{STRENGTH}100", "mitigation.adaptation.replay=0.5")
    whole = adapt(recipe, "whole", *ewc)
    pid = os.fork()
    if pid == 0:
        pull = AdaptTask.after_update

        def struck(task, step, lr, sums):
            pull(task, step, lr, sums)
            if step == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        AdaptTask.after_update = struck
        adapt(recipe, "pieces", *ewc)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert not (recipe / "exp/pieces/final.pt").exists()
    pieces = adapt(recipe, "pieces", *ewc)
    assert "continuing from" in (recipe / "exp/pieces/log/train.log").read_text()
    assert pieces.read_bytes() == whole.read_bytes()


def test_dev_metrics_tell_the_cohort_from_the_rest(recipe):
    adapt(recipe, "plain", f"{METHOD}finetune")
    log = (recipe / "exp/plain/log/train.log").read_text()
    assert "2 speakers to train on, 1 to choose" in log  # d3 is for confirmation
    assert "cohort_loss" in log
    assert "balanced_loss" in log


def test_the_control_has_general_speech_and_the_same_dev_metrics(recipe):
    control = adapt(recipe, "control", f"{METHOD}finetune", "mitigation.adaptation.speech=general")
    assert "cohort_loss" in (recipe / "exp/control/log/train.log").read_text()
    assert not equal(control, adapt(recipe, "plain", f"{METHOD}finetune"))
    alone = ("mitigation.adaptation.speech=general", 'mitigation.cohorts.directory=""')
    assert equal(adapt(recipe, "alone", f"{METHOD}finetune", *alone), control)
