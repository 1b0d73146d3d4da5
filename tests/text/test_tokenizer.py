"""Text to tokens and back, tokens to words with times."""

import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.errors import CheckpointError, ConfigError, DataError
from asrlib.text import Tokenizer, TokensConfig, train_tokenizer
from asrlib.text.tokenizer import BLANK_ID, SPECIALS

WORDS = "YES NO TURN THE LIGHT ON OFF PLAY SOME MUSIC IT'S COLD HERE TODAY STOP".split()  # noqa: SIM905
TEXTS = [" ".join(random.Random(i).choices(WORDS, k=4)) for i in range(200)]


def train(path, texts=TEXTS, **config):
    train_tokenizer(texts, TokensConfig(**config), path)
    return Tokenizer.from_file(path)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return train(tmp_path_factory.mktemp("lang") / "bpe.model", vocab_size=60)


@pytest.mark.parametrize("model_type", ["unigram", "bpe", "char"])
@pytest.mark.parametrize("vocab_size", [30, 50, 5000])
def test_every_kind_round_trips(tmp_path, model_type, vocab_size):
    tokenizer = train(tmp_path / "bpe.model", vocab_size=vocab_size, model_type=model_type)
    assert tokenizer.vocab_size <= vocab_size
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert min(ids) > 4
        assert max(ids) < tokenizer.vocab_size
        assert tokenizer.decode(ids) == text


def test_special_ids(tokenizer):
    assert [tokenizer.piece(i) for i in range(5)] == ["<blk>", "<unk>", "<sot>", "<eot>", "<cot>"]
    assert BLANK_ID == 0
    assert not {"<s>", "</s>", "<pad>"} & {tokenizer.piece(i) for i in range(tokenizer.vocab_size)}


def test_special_symbols_are_silent(tokenizer):
    ids = tokenizer.encode("PLAY MUSIC")
    assert tokenizer.decode([2, *ids, 0, 3, 4]) == "PLAY MUSIC"


def test_unseen_characters_are_unknown(tokenizer):
    ids = tokenizer.encode("PLAY Ж")
    assert 1 in ids
    assert tokenizer.decode(ids).startswith("PLAY")


def test_empty_text(tokenizer):
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""
    assert tokenizer.words([], []) == []


def test_words_have_times_of_first_and_last_token(tokenizer):
    text = "IT'S COLD TODAY"
    ids = tokenizer.encode(text)
    words = tokenizer.words(ids, range(len(ids)))
    starts = [t for t, i in enumerate(ids) if tokenizer.piece(i).startswith("▁")]
    ends = [*(t - 1 for t in starts[1:]), len(ids) - 1]
    assert words == list(zip(text.split(), starts, ends, strict=True))


@settings(deadline=None)
@given(data=st.data())
def test_words_join_to_the_text(tokenizer, data):
    text = " ".join(data.draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6)))
    ids = tokenizer.encode(text)
    at = data.draw(st.integers(0, len(ids)))
    ids = [*ids[:at], data.draw(st.sampled_from([0, 2, 3, 4])), *ids[at:]]
    words = tokenizer.words(ids, list(range(len(ids))))
    assert " ".join(w for w, _, _ in words) == text
    assert all(start <= end for _, start, end in words)


def test_words_wants_a_time_for_each_id(tokenizer):
    with pytest.raises(ValueError, match="2 ids, but 1 times"):
        tokenizer.words([5, 6], [0.0])


def test_bytes_and_pickle_keep_the_model(tokenizer):
    for other in (
        Tokenizer.from_bytes(tokenizer.model_bytes),
        pickle.loads(pickle.dumps(tokenizer)),
    ):
        assert other.encode(TEXTS[0]) == tokenizer.encode(TEXTS[0])


def test_order_of_texts_does_not_matter(tmp_path):
    one = train(tmp_path / "a.model", vocab_size=60)
    two = train(tmp_path / "b.model", list(reversed(TEXTS)), vocab_size=60)
    assert one.model_bytes == two.model_bytes


OWN = ("A", "B", "SEVEN")


@pytest.fixture(scope="module")
def with_own(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "bpe.model"
    texts = ["A B BAND", "A BAD SEVENTY", "SEVEN B A", "BA"] * 20
    train_tokenizer(texts, TokensConfig(vocab_size=40, model_type="bpe", own_words=OWN), path)
    return Tokenizer.from_file(path)


@given(words=st.lists(st.sampled_from([*OWN, "BAND", "SEVENTY", "BAD", "BA"]), max_size=8))
def test_own_words_have_a_piece_that_no_other_word_has(with_own, words):
    text = " ".join(words)
    ids = with_own.encode(text)
    assert with_own.decode(ids) == text
    again = Tokenizer.from_bytes(with_own.model_bytes)  # the model knows its own words
    assert again.encode(text) == ids
    spans = with_own.word_spans(ids)
    assert len(spans) == len(words)
    own = {i for word in OWN for i in with_own.encode(word)}
    assert len(own) == len(OWN)
    for word, span in zip(words, spans, strict=True):
        pieces = [ids[i] for i in span]
        assert (word in OWN) == bool(own & set(pieces))
        assert word not in OWN or len(pieces) == 1


def test_two_words_are_no_own_word(tmp_path):
    with pytest.raises(ConfigError, match="own_words: 'A B' is no single word"):
        train_tokenizer(["A B"], TokensConfig(own_words=("A B",)), tmp_path / "bpe.model")


@pytest.mark.parametrize("model_type", ["unigram", "bpe", "char"])
def test_sources_have_symbols_that_no_text_has(tmp_path, model_type):
    path, names = tmp_path / "bpe.model", ["an4", "so 762", "a=b"]
    config = TokensConfig(vocab_size=60, model_type=model_type, sources="corpus")
    train_tokenizer(TEXTS, config, path, names)
    made = Tokenizer.from_file(path)
    assert (made.source_column, set(made.sources)) == ("corpus", set(names))
    symbols = [made.first_symbol(name) for name in names]
    assert len({*symbols, made.first_symbol(None)}) == 4
    assert made.first_symbol(None) == BLANK_ID
    for text in [*TEXTS, "<corpus=an4>"]:
        assert not set(symbols) & set(made.encode(text))
    assert set(made.text_pieces) == {*range(len(SPECIALS), made.vocab_size)} - set(symbols)
    ids = made.encode(TEXTS[0])
    assert made.decode([symbols[0], *ids]) == TEXTS[0]
    assert made.word_spans([*ids, symbols[0]]) == made.word_spans(ids)
    with pytest.raises(ConfigError, match="source librispeech") as error:
        made.first_symbol("librispeech")
    assert "an4" in error.value.fix
    with pytest.raises(ConfigError, match="source an4") as error:
        train(tmp_path / "other.model", vocab_size=60).first_symbol("an4")
    assert "tokens.sources" in error.value.fix


@pytest.mark.parametrize("model_type", ["unigram", "bpe", "char"])
def test_too_small_vocabulary_names_the_least(tmp_path, model_type):
    with pytest.raises(ConfigError, match=r"tokens\.vocab_size: 9") as error:
        train(tmp_path / "bpe.model", vocab_size=9, model_type=model_type)
    least = int(error.value.fix.split()[-1])
    assert (
        train(tmp_path / "bpe.model", vocab_size=least, model_type=model_type).vocab_size == least
    )
    with pytest.raises(ConfigError):
        train(tmp_path / "bpe.model", vocab_size=least - 1, model_type=model_type)


def test_coverage_leaves_rare_characters_out(tmp_path):
    texts = [*TEXTS * 20, "Ж"]
    rare = train(tmp_path / "a.model", texts, vocab_size=60, character_coverage=0.999)
    assert 1 in rare.encode("Ж")
    assert 1 not in train(tmp_path / "b.model", texts, vocab_size=60).encode("Ж")


def test_no_text_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no text"):
        train(tmp_path / "bpe.model", [" ", ""])


def test_missing_and_foreign_models(tmp_path):
    with pytest.raises(CheckpointError, match="run stage 3"):
        Tokenizer.from_file(tmp_path / "bpe.model")
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(CheckpointError):
        Tokenizer.from_file(tmp_path / "junk")


@pytest.mark.realdata
def test_an4_with_thirty_pieces(shared_data, tmp_path):
    lines = (shared_data / "an4/etc/an4_train.transcription").read_text().splitlines()
    texts = [line.split("</s>")[0].replace("<s>", "").strip() for line in lines]
    tokenizer = train(tmp_path / "bpe.model", texts, vocab_size=35)
    assert tokenizer.vocab_size == 35
    assert all(tokenizer.decode(tokenizer.encode(t)) == " ".join(t.split()) for t in texts)
