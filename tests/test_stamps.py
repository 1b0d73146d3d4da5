"""asrlib.stamps: a stamp holds while inputs, configuration, version and outputs stay."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from asrlib.config import configclass
from asrlib.errors import UserError
from asrlib.stamps import Stamp, hash_file


@configclass
class Config:
    rate: float = 1.0
    corpus: Path = Path("a")


@pytest.fixture
def stamp(tmp_path) -> Stamp:
    folder = tmp_path / "in_dir"
    folder.mkdir()
    for path in (folder / "a", tmp_path / "in", tmp_path / "out"):
        path.write_text("content")
    return Stamp(
        path=tmp_path / "stamp.json",
        inputs=[tmp_path / "in", folder],
        config={"config": Config(), "names": ["x"], "path": tmp_path},
        outputs=[tmp_path / "out"],
        version=1,
    )


def test_holds_once_written_and_not_before(stamp):
    assert not stamp.is_current()
    stamp.write()
    assert stamp.is_current()


def test_holds_when_an_input_is_touched_but_not_changed(stamp):
    stamp.write()
    os.utime(stamp.inputs[0], (1, 1))
    assert stamp.is_current()


def test_falls_when_an_input_changes(stamp):
    stamp.write()
    stamp.inputs[0].write_text("CONTENT")
    assert not stamp.is_current()


@pytest.mark.parametrize("change", ["new", "gone", "renamed", "longer", "touched"])
def test_falls_when_an_input_directory_changes(stamp, change):
    stamp.write()
    folder = stamp.inputs[1]
    if change == "new":
        (folder / "b").touch()
    elif change == "gone":
        (folder / "a").unlink()
    elif change == "renamed":
        (folder / "a").rename(folder / "b")
    elif change == "longer":
        (folder / "a").write_text("content and more")
    else:
        os.utime(folder / "a", (1, 1))
    assert not stamp.is_current()


def test_falls_when_an_output_is_gone(stamp):
    stamp.write()
    stamp.outputs[0].unlink()
    assert not stamp.is_current()


def test_a_missing_input_never_holds(stamp):
    stamp.inputs[0].unlink()
    stamp.write()
    assert not stamp.is_current()


@pytest.mark.parametrize(
    "config",
    [
        {"config": Config(rate=2.0), "names": ["x"]},
        {"config": Config(corpus=Path("b")), "names": ["x"]},
        {"config": Config(), "names": ["x", "y"]},
        {"config": Config()},
    ],
)
def test_falls_when_the_configuration_changes(stamp, config):
    stamp = dataclasses.replace(stamp, config={"config": Config(), "names": ["x"]})
    stamp.write()
    assert stamp.is_current()
    assert not dataclasses.replace(stamp, config=config).is_current()


def test_the_order_of_a_mapping_does_not_matter(stamp):
    one, two = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    keys = {dataclasses.replace(stamp, config=config).key() for config in (one, two)}
    assert len(keys) == 1


def test_falls_when_the_stage_s_version_changes(stamp):
    stamp.write()
    assert not dataclasses.replace(stamp, version=2).is_current()


def test_what_lasts_is_kept_with_a_warning_when_the_version_changes(stamp, caplog):
    dataclasses.replace(stamp, lasting=True).write()
    assert dataclasses.replace(stamp, lasting=True).is_current()
    assert caplog.text == ""
    later = dataclasses.replace(stamp, lasting=True, version=2)
    assert later.is_current()
    assert f"{stamp.outputs[0]}: made by version 1" in caplog.text
    assert "--force" in caplog.text
    stamp.inputs[0].write_text("CONTENT")
    assert not later.is_current()


def test_the_library_s_version_does_not_matter(stamp, monkeypatch):
    stamp.write()
    monkeypatch.setattr("asrlib.__version__", "999")
    assert stamp.is_current()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "{}", '{"key": 1}', '{"key": 1, "version": 1}', "\0"]
)
def test_a_damaged_stamp_does_not_hold(stamp, content):
    stamp.write()
    stamp.path.write_text(content)
    assert not stamp.is_current()


def test_a_configuration_without_a_stable_form_is_refused(stamp):
    with pytest.raises(TypeError, match="object"):
        dataclasses.replace(stamp, config=object()).key()


def test_a_dangling_link_in_a_directory_is_an_entry_like_others(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = hash_file(tmp_path)
    (tmp_path / "link").unlink()
    assert hash_file(tmp_path) != before


def test_holds_once_the_outputs_are_made(stamp):
    with stamp.making():
        assert not stamp.is_current()
    assert stamp.is_current()


def test_outputs_half_made_with_another_configuration_do_not_pass_for_the_old_ones(stamp):
    """A run with another configuration was killed when it had written one of the outputs."""
    stamp.write()
    other = dataclasses.replace(stamp, config={"config": Config(rate=2.0)})

    def killed() -> None:
        stamp.outputs[0].write_text("of the other")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), other.making():
        killed()
    assert not stamp.is_current()
    assert not other.is_current()


def test_an_input_that_changes_meanwhile_is_not_what_was_read(stamp):
    with stamp.making():
        stamp.inputs[0].write_text("CONTENT")
    assert not stamp.is_current()


def test_two_runs_do_not_make_the_same_outputs(stamp):
    with stamp.making():
        with pytest.raises(UserError, match="another run of the same stage is at work"):
            dataclasses.replace(stamp).making().__enter__()
        assert not stamp.is_current()
    assert stamp.is_current()
    with stamp.making():
        pass
