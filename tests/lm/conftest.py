import pytest

from asrlib.text.tokenizer import Tokenizer
from tests.streaming.streaming_fakes import make_tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> Tokenizer:
    return make_tokenizer(tmp_path_factory.mktemp("tokens"))
