"""asrlib.config: YAML onto typed dataclasses; faults name file, key and nearest valid key."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from asrlib.config import (
    check_overrides,
    configclass,
    from_dict,
    load_choice,
    load_config,
    load_named,
    to_dict,
)
from asrlib.errors import ConfigError


@configclass
class Lstm:
    name: Literal["lstm"] = "lstm"
    hidden: int
    layers: int = 2


@configclass
class Conv:
    name: Literal["conv"] = "conv"
    channels: int = 8
    causal: bool = True


Encoder = Annotated[Lstm | Conv, Field(discriminator="name")]


@configclass
class Block:
    width: int = 4
    kernel: int = 3


@configclass
class Stack:
    name: Literal["lstm"] = "lstm"
    lstm: Block = Block()  # a key of the union's tag


@configclass
class Model:
    encoder: Encoder = Conv()
    stack: Annotated[Stack | Conv, Field(discriminator="name")] = Stack()
    blocks: tuple[Block, ...] = ()
    schedule: Literal["cosine", "linear"] = "cosine"
    peak_lr: float = 1e-3
    limit: int | None = None
    corpus: Path | None = None
    rates: tuple[float, ...] = (1.0,)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def fault(path: Path, *overrides: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(Model, "model", [path], overrides)
    return caught.value


def test_defaults_without_any_file(tmp_path):
    assert load_config(Model, "model", [tmp_path / "absent.yaml"]) == Model()


def test_later_files_overlay_earlier_ones_key_by_key(tmp_path):
    first = write(tmp_path / "a.yaml", "peak_lr: 0.1\nencoder: {name: lstm, hidden: 3, layers: 7}")
    second = write(tmp_path / "b.yaml", "encoder: {hidden: 5}")
    config = load_config(Model, "model", [first, second], ["model.limit=9", "train.x=1"])
    assert config.encoder == Lstm(hidden=5, layers=7)
    assert (config.peak_lr, config.limit) == (0.1, 9)


def test_values_take_their_declared_types(tmp_path):
    path = write(tmp_path / "a.yaml", "peak_lr: 1\nrates: [1, 0.9]\ncorpus: a/b\nlimit: null")
    config = load_config(Model, "model", [path], ["model.peak_lr=2e-3"])
    assert config == Model(peak_lr=2e-3, rates=(1.0, 0.9), corpus=Path("a/b"))
    assert isinstance(config.corpus, Path)


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Model().limit = 3


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("peek_lr: 1", "peek_lr", "peak_lr"),
        ("encoder: {name: lstm, hiden: 3}", "encoder.hiden", "hidden"),
        ("encoder: {name: conv, chanels: 3}", "encoder.chanels", "channels"),
        ("stack: {name: lstm, lstm: {widht: 3}}", "stack.lstm.widht", "width"),
        ("blocks: [{width: 1}, {kernal: 3}]", "blocks.1.kernal", "kernel"),
    ],
)
def test_an_unknown_key_names_file_key_and_the_nearest(tmp_path, text, key, nearest):
    path = write(tmp_path / "m.yaml", text)
    error = fault(path)
    assert error.what == f"{path}: unknown key {key}"
    assert error.fix == f"did you mean {nearest}?"


def test_an_unknown_key_like_no_other_lists_those_of_its_own_component(tmp_path):
    error = fault(write(tmp_path / "m.yaml", "encoder: {name: conv, zzzz: 3}"))
    assert error.fix == "choose one of causal, channels, name"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("peak_lr: fast", "key peak_lr: input should be a valid number, not 'fast'"),
        ("limit: 1.5", "key limit: input should be a valid integer"),
        ("limit: '3'", "key limit: input should be a valid integer, not '3'"),
        ("peak_lr: .inf", "key peak_lr: input should be a finite number"),
        ("schedule: cosin", "key schedule: input should be 'cosine' or 'linear', not 'cosin'"),
        ("encoder: {name: conv, causal: 1}", "key encoder.causal: input should be a valid boolean"),
        ("encoder: {name: lstm}", "key encoder.hidden: field required"),
        ("encoder: {hidden: 3}", "key encoder.name: missing"),
        ("encoder: 3", "key encoder: input should be a mapping, not 3"),
        ("blocks: [{width: x}]", "key blocks.0.width: input should be a valid integer, not 'x'"),
        ("rates: [1, a]", "key rates.1: input should be a valid number, not 'a'"),
    ],
)
def test_an_ill_typed_value_names_file_and_key(tmp_path, text, what):
    path = write(tmp_path / "m.yaml", text)
    assert fault(path).what.startswith(f"{path}: {what}")


def test_an_unknown_component_names_the_nearest(tmp_path):
    error = fault(write(tmp_path / "m.yaml", "encoder: {name: lstmm, hidden: 3}"))
    assert error.what.endswith("key encoder.name: unknown value lstmm")
    assert error.fix == "did you mean lstm?"


def test_the_layer_that_set_the_bad_value_is_named(tmp_path):
    good = write(tmp_path / "good.yaml", "peak_lr: 1")
    bad = write(tmp_path / "bad.yaml", "peak_lr: x")
    with pytest.raises(ConfigError, match=r"bad\.yaml: key peak_lr"):
        load_config(Model, "model", [good, bad])
    with pytest.raises(ConfigError, match=r"bad\.yaml: key peak_lr"):
        load_config(Model, "model", [bad, good, bad], ["model.limit=3"])
    with pytest.raises(ConfigError, match=r"--set model.peak_lr=y: key peak_lr"):
        load_config(Model, "model", [good], ["model.peak_lr=y"])


def test_a_missing_key_is_asked_of_the_file_not_of_an_override(tmp_path):
    path = write(tmp_path / "m.yaml", "encoder: {name: lstm}")
    assert fault(path, "model.encoder.layers=3").what.startswith(f"{path}: key encoder.hidden")


@pytest.mark.parametrize(
    "text", ["a: [1", "a: 1\na: 2", "- 1\n- 2", "just words", "a: ${", "peak_lr: ${nowhere}"]
)
def test_a_file_that_is_no_mapping_is_named(tmp_path, text):
    path = write(tmp_path / "m.yaml", text)
    assert str(path) in fault(path).what


def test_a_file_that_is_not_text_is_named(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    assert str(path) in fault(path).what


@pytest.mark.parametrize(
    "override",
    ["peak_lr=1", "model.peak_lr", "model.=1", ".peak_lr=1", "model.limit=[1", "model.limit=${x}"],
)
def test_a_malformed_override_is_named(tmp_path, override):
    assert f"--set {override}" in fault(write(tmp_path / "m.yaml", ""), override).what


def test_an_override_of_no_section_names_the_nearest():
    check_overrides(["train.a=1", "model.b=2"], {"train": None, "model": None})
    with pytest.raises(ConfigError, match="did you mean train") as caught:
        check_overrides(["trian.a=1"], {"train": None, "model": None})
    assert caught.value.what == "--set trian.a=1: no section trian"


@pytest.mark.parametrize("override", ["train.epoch=2", "train.epoch.x=2", "train.epoch[0]=2"])
def test_an_override_of_no_key_names_the_nearest(tmp_path, override):
    sections = {"train": write(tmp_path / "train.yaml", "epochs: 1\nlm: {path: null}\n")}
    check_overrides(["train.epochs=2", "train.lm.path=a", "train.lm={path: b}"], sections)
    with pytest.raises(ConfigError) as caught:
        check_overrides(["train.epochs=2", override], sections)
    assert caught.value.what == f"--set {override}: unknown key epoch"
    assert caught.value.fix == "did you mean epochs?"


@given(
    encoder=st.one_of(
        st.builds(Lstm, hidden=st.integers(-9, 9), layers=st.integers(-9, 9)),
        st.builds(Conv, channels=st.integers(-9, 9), causal=st.booleans()),
    ),
    blocks=st.lists(st.builds(Block, width=st.integers(-9, 9))).map(tuple),
    peak_lr=st.floats(allow_nan=False, allow_infinity=False),
    limit=st.none() | st.integers(-9, 9),
    corpus=st.none() | st.just(Path("a/b")),
)
def test_a_config_survives_its_plain_form(encoder, blocks, peak_lr, limit, corpus):
    config = Model(encoder=encoder, blocks=blocks, peak_lr=peak_lr, limit=limit, corpus=corpus)
    assert from_dict(Model, to_dict(config)) == config


def test_from_dict_names_its_source():
    with pytest.raises(ConfigError, match=r"step-7\.pt: unknown key limmit"):
        from_dict(Model, {"limmit": 3}, source="step-7.pt")


def named(root: Path, texts: dict[str, str]) -> list[Path]:
    """Folders `conf` and `egs` under root, with `model/NAME.yaml` for each `conf/NAME` of texts."""
    for name, text in texts.items():
        folder, _, stem = name.partition("/")
        path = root / folder / "model" / f"{stem}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, text)
    return [root / "conf", root / "egs"]


def test_a_variant_holds_only_what_differs_from_its_base(tmp_path):
    folders = named(
        tmp_path,
        {
            "conf/conv": "encoder: {name: conv, channels: 4}\nlimit: 1\npeak_lr: 0.5",
            "egs/conv": "limit: 2\npeak_lr: 0.25",
            "conf/conv/acausal": "base: conv\nencoder: {causal: false}\npeak_lr: 0.1",
            "egs/conv/acausal": "limit: 3",
        },
    )
    model = load_named(Model, "model", "conv/acausal", folders, ["model.encoder.channels=5"])
    assert model.encoder == Conv(channels=5, causal=False)
    assert (model.limit, model.peak_lr) == (3, 0.1)  # base, its overlay, variant, its overlay
    assert load_named(Model, "model", "conv", folders).limit == 2


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        ({"conf/a": "base: b", "conf/b": "base: a"}, "b.yaml: base: a leads back to itself"),
        ({"conf/a": "base: a"}, "a.yaml: base: a leads back to itself"),
        ({"conf/a": "base: c", "conf/b": ""}, "c.yaml: no such model, the base of a.*\n?.*a, b"),
        ({"conf/b": "limit: 1"}, "a.yaml: no such model"),
    ],
)
def test_a_base_that_is_missing_or_goes_in_a_circle(tmp_path, texts, match):
    with pytest.raises(ConfigError, match=match):
        load_named(Model, "model", "a", named(tmp_path, texts))


def test_a_choice_is_read_before_its_class_is_known(tmp_path):
    texts = {
        "conf/a": "kind: one\nwidth: 3",
        "egs/a": "kind: two",
        "conf/b": "base: a",
        "conf/c": "",
    }
    folders = named(tmp_path, texts)

    def choice(name: str, *overrides: str, choices: tuple[str, ...] = ("one", "two")) -> str:
        return load_choice("kind", choices, "one", "model", name, folders, overrides)

    assert choice("a") == choice("b") == "two"  # the recipe's file overlays the project's
    assert choice("c") == "one"  # the default
    assert choice("b", "model.kind=one") == "one"
    with pytest.raises(ConfigError) as e:
        choice("b", choices=("one", "twos"))
    assert e.value.what == f"{tmp_path}/egs/model/a.yaml: key kind: unknown value two"
    assert e.value.fix == "did you mean twos?"
    with pytest.raises(
        ConfigError, match=r"--set model\.kind=\[two\]: key kind: unknown value \['two'\]"
    ):
        choice("a", "model.kind=[two]")
