"""Every amortized variant of conf/model on real speech: any pieces, and skipping as masking."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asrlib.config import load_named
from asrlib.encoders.amortized import AmortizedEncoder
from asrlib.features.fbank import FbankConfig, FbankExtractor
from asrlib.transducer.model import TransducerConfig

pytestmark = pytest.mark.realdata

CONF = Path(__file__).parents[2] / "conf"
VARIANTS = sorted(path.stem for path in (CONF / "model/amortized").glob("*.yaml"))


@pytest.fixture(scope="module", params=VARIANTS)
def encoder(request, speech) -> AmortizedEncoder:
    """As its file says, with random weights; what is learned to be off is off half of the time."""
    config = load_named(TransducerConfig, "model", f"amortized/{request.param}", [CONF])
    torch.manual_seed(1)
    encoder = config.encoder.build(80).eval()
    every_TF = torch.cat([FbankExtractor(FbankConfig())(s) for s in speech.samples])
    encoder.norm.set_stats(every_TF.mean(0), every_TF.std(0))
    for arbitrator in encoder.arbitrators:
        net = arbitrator.net
        if net is not None:
            output = net[-1] if isinstance(net, torch.nn.Sequential) else net.output
            torch.nn.init.normal_(output.weight)
            torch.nn.init.zeros_(output.bias)
    return encoder


@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
@torch.no_grad()
def test_pieces_equal_the_whole_and_skipping_equals_masking(encoder, speech, data):
    samples = speech.samples[data.draw(st.integers(0, len(speech.samples) - 1))]
    x_BTF = FbankExtractor(FbankConfig())(samples)[None]
    x_BTF = x_BTF[:, : x_BTF.shape[1] // 4 * 4]
    whole_BSD, _ = encoder(x_BTF, torch.tensor([x_BTF.shape[1]]))
    state, pieces, start = encoder.initial_state(1), [], 0
    while start < x_BTF.shape[1]:
        size = 4 * data.draw(st.integers(1, 20))
        h_BSD, state = encoder.step(x_BTF[:, start : start + size], state)
        pieces.append(h_BSD)
        start += size
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole_BSD, atol=1e-4, rtol=0)
    encoder.skip = False
    masked_BSD, _ = encoder(x_BTF, torch.tensor([x_BTF.shape[1]]))
    encoder.skip = True
    torch.testing.assert_close(masked_BSD, whole_BSD, atol=1e-5, rtol=0)
    spent, full = encoder.work(state)
    everything = encoder.config.arbitrator.kind == "none"
    assert spent == full if everything else 0.2 * full < spent < 0.95 * full
