"""Predictors: whole equals step by step; no symbol is a zero embedding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.config import from_dict
from asrlib.encoders import stack_states, unstack_state
from asrlib.errors import ConfigError
from asrlib.transducer import LstmPredictorConfig, StatelessConfig
from asrlib.transducer.predictor import StatelessPredictor

VOCAB = 7
CONFIGS = {
    "stateless-1": StatelessConfig(context=1, output_dim=4, dropout=0.5),
    "stateless-2": StatelessConfig(context=2, output_dim=4, dropout=0.5),
    "stateless-4": StatelessConfig(context=4, output_dim=4, dropout=0.5),
    "lstm": LstmPredictorConfig(embedding_dim=3, hidden_dim=5, layers=2, output_dim=4, dropout=0.5),
    "lstm-plain": LstmPredictorConfig(
        embedding_dim=3, hidden_dim=5, layer_norm=False, output_dim=4
    ),
}
predictors = pytest.mark.parametrize("name", CONFIGS)


@predictors
@settings(deadline=None, max_examples=15)
@given(num_symbols=st.integers(0, 6), batch=st.integers(1, 3), seed=st.integers(0, 99))
@torch.no_grad()
def test_forward_equals_steps_from_the_initial_state(name, num_symbols, batch, seed):
    torch.manual_seed(seed)
    predictor = CONFIGS[name].build(VOCAB).eval()
    y_BU = torch.randint(-1, VOCAB, (batch, num_symbols + 1))
    y_BU[:, 0] = 0
    outputs, state = [], predictor.initial_state(batch)
    for u in range(num_symbols + 1):
        d_BD, state = predictor.step(y_BU[:, u], stack_states(unstack_state(state)))
        outputs.append(d_BD)
    d_BUD = predictor(y_BU)
    assert d_BUD.shape == (batch, num_symbols + 1, predictor.output_dim)
    torch.testing.assert_close(torch.stack(outputs, dim=1), d_BUD)


@predictors
@torch.no_grad()
def test_later_symbols_change_no_earlier_output(name):
    predictor = CONFIGS[name].build(VOCAB).eval()
    y_BU = torch.tensor([[0, 1, 2, 3, 4]])
    changed_BU = torch.tensor([[0, 1, 2, 6, 4]])
    before, after = predictor(y_BU), predictor(changed_BU)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


@torch.no_grad()
def test_a_stateless_predictor_starts_at_no_symbols_then_blank():
    predictor = StatelessPredictor(StatelessConfig(context=3, output_dim=16), VOCAB).eval()
    start_BC = torch.tensor([[-1, -1, 0]])
    blanks_BC = torch.tensor([[0, 0, 0]])
    first_BD, _ = predictor.step(torch.tensor([0]), predictor.initial_state(1))
    torch.testing.assert_close(predictor.windows(start_BC)[:, 0], first_BD)
    assert not torch.allclose(predictor.windows(blanks_BC)[:, 0], first_BD)


@predictors
@torch.no_grad()
def test_no_symbol_has_a_zero_embedding(name):
    predictor = CONFIGS[name].build(VOCAB)
    assert not predictor.embed(torch.tensor([[-1, -5]])).any()
    assert predictor.embed(torch.tensor([[0]])).any()


@pytest.mark.parametrize(
    ("cls", "values", "match"),
    [
        (StatelessConfig, {"context": 0}, "context"),
        (LstmPredictorConfig, {"layers": 0}, "layers"),
        (LstmPredictorConfig, {"context": 2}, "unknown key context"),
    ],
)
def test_a_wrong_value_is_named(cls, values, match):
    with pytest.raises(ConfigError, match=match):
        from_dict(cls, values)
