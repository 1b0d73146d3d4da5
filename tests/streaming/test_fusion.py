"""Language models and hotwords in modified beam search."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming_fakes import WORDS, babble, outcome, random_model, recognizer_of, transcribe
from test_searches import VOCAB, alignment_scores, frames, run, tokens_of

from asrlib.errors import ConfigError, DataError
from asrlib.lm.arpa import read_arpa
from asrlib.lm.hotwords import HotwordScorer
from asrlib.lm.kneser_ney import train_ngrams, write_arpa
from asrlib.lm.scorer import NgramScorer, SumScorer
from asrlib.streaming.fusion import HotwordsConfig, LmConfig
from asrlib.streaming.modified_beam import ModifiedBeamConfig, ModifiedBeamSearch
from asrlib.text.tokenizer import SPECIALS, Tokenizer

PIECES = ["<blk>", "a", "b", "c"]
WIDE = ModifiedBeamConfig(beam=VOCAB**4, length_norm=False)


@pytest.fixture(scope="module")
def model():
    return random_model("lstm", "stateless", VOCAB, seed=3)


TEXT = [tuple("ab"), tuple("abc"), tuple("cb"), tuple("bb")]


def bigrams() -> NgramScorer:
    return NgramScorer(train_ngrams(TEXT, 2, "abc"), PIECES, 0.7, ignored=(0,))


def lodr() -> SumScorer:
    subtracted = NgramScorer(train_ngrams(TEXT, 1, "abc"), PIECES, -0.4, ignored=(0,))
    return SumScorer([bigrams(), subtracted])


def added(scorer, tokens) -> float:
    state, total = scorer.start(), 0.0
    for token in tokens:
        total += scorer.row(state)[token]
        state = scorer.advance(state, token)
    return total + scorer.end(state)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["lm", "lodr", "hotwords", "both"])
def test_fusion_equals_brute_force(model, seed, kind):
    hot = HotwordScorer({(1, 2): 1.0, (3,): 0.5}, VOCAB, ignored=(0,))
    scorers = {"lm": bigrams(), "lodr": lodr(), "hotwords": hot}
    scorer = {**scorers, "both": SumScorer([bigrams(), hot])}[kind]
    h_BSD = frames(4, seed)
    totals: dict[tuple[int, ...], float] = {}
    for path, score in alignment_scores(model, h_BSD).items():
        tokens = tokens_of(path)
        totals[tokens] = math.log(math.exp(totals.get(tokens, -math.inf)) + math.exp(score))
    totals = {tokens: score + added(scorer, tokens) for tokens, score in totals.items()}
    ranked = sorted(totals, key=lambda t: totals[t], reverse=True)
    search = ModifiedBeamSearch(model, WIDE, scorer)
    state = search.initial_state()
    search.advance(h_BSD, [state])
    found = search.ranked(state)[:5]
    assert [hyp.tokens for hyp in found] == ranked[:5]
    for hyp in found:
        assert hyp.score == pytest.approx(totals[hyp.tokens], abs=1e-4)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@given(seed=st.integers(0, 999), history=st.lists(st.sampled_from("abc"), max_size=5))
def test_rows_hold_the_probabilities_of_the_table(order, seed, history):
    words = random.Random(seed)
    text = [words.choices("abc", k=words.randint(1, 6)) for _ in range(20)]
    table = train_ngrams(text, order, "abc")
    scorer = NgramScorer(table, PIECES, 0.7, ignored=(0,))
    state = scorer.start()
    for piece in history:
        state = scorer.advance(state, PIECES.index(piece))
    expected = [0.7 * table.log_prob(("<s>", *history), piece) for piece in "abc"]
    assert scorer.row(state).tolist() == pytest.approx([0.0, *expected])


def test_what_a_subtracted_model_lacks_is_not_favoured(tmp_path):
    path = tmp_path / "lm.arpa"
    write_arpa(train_ngrams(TEXT, 2, "abc"), path)
    scorer = NgramScorer(read_arpa(path, "abc"), [*PIECES, "<unk>", "d"], -0.4, ignored=(0,))
    scores_V = scorer.row(("a",))
    assert (scores_V[4:] == scores_V[1:4].min()).all()
    added_V = NgramScorer(read_arpa(path, "abc"), [*PIECES, "<unk>"], 0.4, ignored=(0,)).row(())
    assert added_V[4] == added_V[1:4].min() > -0.4 * 99  # the -99 of <s> is no probability


def test_a_score_above_zero_is_not_divided_by_the_length(model):
    hot = HotwordScorer({(1,): 50.0}, VOCAB, ignored=(0,))
    normed = ModifiedBeamSearch(model, replace(WIDE, length_norm=True), hot)
    assert run(normed, frames(4, 1)).tokens == (1, 1, 1, 1)


def test_a_blank_penalty_changes_blank_alone_and_a_temperature_flattens(model):
    h_BSD = frames(4, 1)
    plain = run(ModifiedBeamSearch(model, WIDE), h_BSD)
    eager = run(ModifiedBeamSearch(model, WIDE, blank_penalty=8.0), h_BSD)
    assert len(eager.tokens) == 4 > len(plain.tokens)
    flat = run(ModifiedBeamSearch(model, replace(WIDE, beam=1), temperature=1e6), h_BSD)
    assert flat.score == pytest.approx(-4 * math.log(VOCAB), abs=1e-3)


@pytest.fixture(scope="module")
def arpa(tmp_path_factory, tokenizer: Tokenizer) -> str:
    pieces = [tokenizer.piece(i) for i in range(len(SPECIALS), tokenizer.vocab_size)]
    text = [[tokenizer.piece(i) for i in tokenizer.encode(f"{w} SEVEN")] for w in WORDS]
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    write_arpa(train_ngrams(text, 3, pieces), path)
    return str(path)


FUSED = {
    "n_best": 3,
    "hotwords": HotwordsConfig(phrases=("THREE FIVE", "GO"), boost=2.0),
    "blank_penalty": 0.5,
}


@pytest.fixture(scope="module")
def fused(random_models, tokenizer, arpa):
    lm = LmConfig(path=arpa, scale=0.5, lodr_path=arpa, lodr_scale=0.2)
    model = random_models["conv_rnnt", "stateless"]
    return recognizer_of(model, tokenizer, "modified_beam", lm=lm, **FUSED)


@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=5))
def test_streaming_equals_offline_at_any_chunking(fused, sizes):
    samples = babble(2.5, seed=5)
    whole = transcribe(fused, samples)
    cut = transcribe(fused, samples, [s + 400 for s in sizes])
    assert outcome(cut) == outcome(whole)
    assert whole.segments[0].alternatives[0].text == whole.text
    texts, scores = (
        [[getattr(a, name) for a in r.segments[0].alternatives] for r in (whole, cut)]
        for name in ("text", "score")
    )
    assert texts[0] == texts[1]
    assert len(set(texts[0])) == len(texts[0])
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_fusion_changes_something_and_weight_zero_nothing(random_models, tokenizer, arpa, fused):
    model, samples = random_models["conv_rnnt", "stateless"], babble(2.5, seed=5)
    plain = recognizer_of(model, tokenizer, "modified_beam")
    zero = LmConfig(path=arpa, scale=0.0, lodr_path=arpa, lodr_scale=0.0)
    none = recognizer_of(model, tokenizer, "modified_beam", lm=zero)
    assert outcome(transcribe(none, samples)) == outcome(transcribe(plain, samples))
    assert transcribe(fused, samples).text != transcribe(plain, samples).text


def test_lodr_with_weight_zero_is_shallow_fusion(random_models, tokenizer, arpa):
    model, samples = random_models["conv_rnnt", "stateless"], babble(2.5, seed=6)
    alone = LmConfig(path=arpa, scale=0.5)
    with_lodr = replace(alone, lodr_path=arpa, lodr_scale=0.0)
    results = [
        transcribe(recognizer_of(model, tokenizer, "modified_beam", lm=lm), samples)
        for lm in (alone, with_lodr)
    ]
    assert outcome(results[0]) == outcome(results[1])


@pytest.mark.parametrize("search", ["greedy", "fast_beam"])
@pytest.mark.parametrize("key", ["lm", "hotwords", "n_best"])
def test_other_searches_refuse_what_they_would_ignore(random_models, tokenizer, search, key):
    values = {"lm": LmConfig(path="x.arpa"), "hotwords": FUSED["hotwords"], "n_best": 2}
    with pytest.raises(ConfigError, match=rf"decode\.{key}: the search {search}"):
        recognizer_of(random_models["lstm", "stateless"], tokenizer, search, **{key: values[key]})


def test_a_model_of_other_pieces_is_refused(tmp_path, random_models, tokenizer):
    path = tmp_path / "other.arpa"
    write_arpa(train_ngrams([("zebra",)], 1, ["zebra"]), path)
    with pytest.raises(DataError, match=r"other\.arpa, line \d: zebra is no piece"):
        recognizer_of(
            random_models["lstm", "stateless"],
            tokenizer,
            "modified_beam",
            lm=LmConfig(path=str(path)),
        )


def test_subtracting_without_adding_is_refused(random_models, tokenizer, arpa):
    with pytest.raises(ConfigError, match="lodr_path"):
        recognizer_of(
            random_models["lstm", "stateless"],
            tokenizer,
            "modified_beam",
            lm=LmConfig(lodr_path=arpa),
        )


def test_confidences_are_probabilities_of_the_words(fused):
    result = transcribe(fused, babble(2.5, seed=5))
    assert len(result.confidences) == len(result.words) > 0
    assert all(0 < c <= 1 for c in result.confidences)
    spans = fused.tokenizer.word_spans(result.tokens)
    log_probs = torch.tensor(result.token_log_probs)
    expected = [float(log_probs[span].min().exp()) for span in spans]
    assert result.confidences == pytest.approx(expected)
