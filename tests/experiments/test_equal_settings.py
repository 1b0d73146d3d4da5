import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scoring_fakes import leave_config

from asrlib.errors import DataError
from asrlib.experiments.equal_settings import check_equal_settings

# None: of a version that did not know the setting.
WARMUPS = st.lists(st.sampled_from([None, 100, 200]), min_size=1, max_size=5)


@given(warmups=WARMUPS, apart=st.booleans())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_who_know_a_setting_have_one_value_whoever_comes_first(tmp_path, warmups, apart):
    names = [f"m{i}" for i in range(len(warmups))]
    for name, warmup in zip(names, warmups, strict=True):
        known = {} if warmup is None else {"train_warmup_steps": warmup}
        leave_config(tmp_path / name, **known)
    free = frozenset({"train.warmup_steps"}) if apart else frozenset()
    if apart or len(set(warmups) - {None}) < 2:
        check_equal_settings(tmp_path, names, free)
        return
    knowing = [name for name, warmup in zip(names, warmups, strict=True) if warmup]
    with pytest.raises(DataError, match=r"train\.warmup_steps") as error:
        check_equal_settings(tmp_path, names, free)
    assert f"exp/{knowing[0]}, beside which" in error.value.what


@pytest.mark.parametrize("setting", ["train_seed", "train_device", "train_num_threads"])
def test_the_seed_and_the_machine_may_differ(tmp_path, setting):
    for name, value in (("a", 1), ("b", 2)):
        leave_config(tmp_path / name, **{setting: value})
    check_equal_settings(tmp_path, ["a", "b"], frozenset())
