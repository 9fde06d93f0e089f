"""The rules of a context's attributes, those of the Compute API, and what is said where they are broken."""

import os
import pwd
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.contexts.rules import ATTRIBUTES, ServerFacts, settings_of
from scorestream_server.domain.account import Account, Rights, own_rights, why_not
from scorestream_server.domain.context import (
    DEFAULT_INACTIVE_TIMEOUT,
    ContextSettings,
    attributes_of,
    mended_prefix,
    task_limit,
)
from scorestream_server.domain.errors import ErrorCode, FieldFault, ScorestreamError
from scorestream_server.tables.paths import DataRoots

RIGHTS = Rights(os.geteuid(), 4321, "scorestream", (), ())
"""Of a server that may switch users."""
FACTS = ServerFacts({"cpu", "cuda:0"}, {"default", "batch"}, DataRoots([]), 3600.0, RIGHTS)
OWN_NAME = pwd.getpwuid(os.geteuid()).pw_name


def said(**values: object) -> ContextSettings:
    return settings_of(values, FACTS, "context")


def test_every_attribute_has_a_rule_and_a_place() -> None:
    """What can be given is what is kept, but for allow_xcmd, which can only be false."""
    assert set(ATTRIBUTES) - {"allow_xcmd"} == set(attributes_of(ContextSettings()))


def test_nothing_given_is_all_at_its_default() -> None:
    assert said() == ContextSettings()


@pytest.mark.parametrize(
    ("given", "kept"),
    [(30, 30.0), (0, 0.0), (-1, DEFAULT_INACTIVE_TIMEOUT), (-1e300, DEFAULT_INACTIVE_TIMEOUT)],
)
def test_the_inactivity_timeout_follows_the_rule(given: float, kept: float) -> None:
    """Positive as it is, 0 for ever, negative as unset: 15 minutes."""
    assert said(session_inactive_timeout=given).session_inactive_timeout == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", ""),
        ("device", "auto"),
        ("device", "cpu"),
        ("device", "cuda"),
        ("device", "cuda:0"),
        ("queue_name", ""),
        ("queue_name", "batch"),
        ("task_timeout", 3600),
        ("run_server_as", OWN_NAME),
        ("run_server_as", ""),
        ("allow_xcmd", ""),
        ("allow_xcmd", "false"),
        ("allow_xcmd", False),
        ("unsafe_job_characters", ";&\"'%"),
        ("server_pool_scale_threshold", 100),
        ("server_launch_timeout", 0.001),
        ("home_directory", ""),
        ("labels", {"team/of": "risk"}),
    ],
)
def test_what_keeps_the_rules_is_taken(name: str, value: object) -> None:
    kept = attributes_of(said(**{name: value}))
    assert name == "allow_xcmd" or kept[name] == (value or ("auto" if name == "device" else value))


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("device", "cuda:1", "has cpu, cuda, cuda:0"),
        ("device", "tpu", "no device of this server"),
        ("queue_name", "bacth", "did you mean batch?"),
        ("session_inactive_timeout", 1e9, "not from 0 to 31,622,400"),
        ("session_inactive_timeout", float("nan"), "no number"),
        ("task_timeout", 0, "more than 0 and at most 3,600"),
        ("task_timeout", 3600.1, "more than 0 and at most 3,600"),
        ("task_timeout", "60", "'60' is no number"),
        ("server_launch_timeout", 0, "more than 0"),
        ("server_inactive_timeout", -1, "not from 0"),
        ("server_reuse_limit", -1, "not from 0"),
        ("server_min_available", 2.0, "no whole number"),
        ("server_max_available", True, "no number"),
        ("server_pool_scale_threshold", 101, "not from 0 to 100"),
        ("server_pool_scale_step", 0, "not from 1"),
        ("reuse_server_processes", 1, "neither true nor false"),
        ("allow_xcmd", "true", "runs no shell commands"),
        ("allow_xcmd", "powerUsers", "runs no shell commands"),
        ("run_server_as", "no_such_user_at_all", "there is no user"),
        ("run_server_as", "../root", "there is no user"),
        ("job_name_prefix", 7, "no text"),
        ("description", "two\nlines", "not printable"),
        ("unsafe_job_characters", "x" * 257, "longer than 256"),
        ("labels", {"a b": "c"}, "'a b' is no name"),
        ("labels", {str(number): "" for number in range(65)}, "65 are more than 64"),
        ("options", {"a": 3}, "3 is no text"),
        ("options", "a=b", "no set of names"),
        ("home_directory", "/", "outside of the server's data roots"),
        ("server_poolscale_step", 2, "did you mean server_pool_scale_step?"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_name(name: str, value: object, told: str) -> None:
    with pytest.raises(ScorestreamError, match=re.escape(told)) as caught:
        said(**{name: value})
    assert [fault.field.split(".")[1] for fault in caught.value.faults] == [name]


def test_all_that_is_wrong_is_told_at_once() -> None:
    """What each attribute breaks, and what they break together."""
    with pytest.raises(ScorestreamError) as caught:
        said(device="gpu", task_timeout=-1, queue_name="none", server_min_available=3, server_max_available=2)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert [fault.field for fault in caught.value.faults] == [
        f"context.{name}" for name in ("device", "task_timeout", "queue_name", "server_min_available")
    ]
    assert caught.value.message.startswith("4 things are wrong with this request.")


def test_a_home_is_a_folder_below_a_data_root(tmp_path: Path) -> None:
    """Named relative to a root, and kept as the real folder; a link does not lead out of the roots."""
    (tmp_path / "root/homes").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root/out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/file").touch()
    facts = ServerFacts({"cpu"}, {"default"}, DataRoots([tmp_path / "root"]), 0.0, RIGHTS)
    kept = settings_of({"home_directory": "homes"}, facts, "context").home_directory
    assert kept == str((tmp_path / "root/homes").resolve())
    for wrong, reason in (
        ("out", "PATH_OUTSIDE_DATA_ROOTS"),
        ("../elsewhere", "PATH_OUTSIDE_DATA_ROOTS"),
        ("file", "INVALID_CONTEXT"),
        ("gone", "FILE_NOT_FOUND"),
    ):
        with pytest.raises(ScorestreamError) as caught:
            settings_of({"home_directory": wrong}, facts, "context")
        assert caught.value.reason == reason
        assert caught.value.faults[0].field == "context.home_directory"


SERVER = Rights(1001, 4321, "scorestream", (), ())
BATCH = Account("batch", 2002, (2002, 100), "/home/batch")


@pytest.mark.parametrize(
    ("account", "rights", "told"),
    [
        (BATCH, SERVER, ""),
        (BATCH, replace(SERVER, uid=0), ""),
        (replace(BATCH, uid=0), SERVER, "only where the server does"),
        (replace(BATCH, uid=0), replace(SERVER, uid=0), ""),
        (BATCH, replace(SERVER, missing=("CAP_KILL", "CAP_SETUID")), "it lacks CAP_KILL, CAP_SETUID"),
        (replace(BATCH, uid=1001), replace(SERVER, missing=("CAP_KILL",), members=("eve",)), ""),
        (BATCH, replace(SERVER, uid=0, gid=0, group="root"), "that is root's"),
        (BATCH, replace(SERVER, members=("carol", "dave")), "carol, dave are in it"),
        (replace(BATCH, groups=(2002, 4321)), SERVER, "batch is in it"),
    ],
)
def test_c4_workers_run_as_another_user_only_where_nobody_else_gets_in(
    account: Account, rights: Rights, told: str
) -> None:
    """The server may switch users, and its group is its own alone; never as root, unless the server is root."""
    assert bool(why_not(account, rights)) == bool(told)
    assert told in why_not(account, rights)


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("CapEff:\t000001ffffffffff", ()),
        ("CapEff:\t00000000000000e0", ()),
        ("CapEff:\t00000000000000c0", ("CAP_KILL",)),
        ("CapEff:\t0000000000000000", ("CAP_KILL", "CAP_SETGID", "CAP_SETUID")),
        ("CapPrm:\t000001ffffffffff", ("CAP_KILL", "CAP_SETGID", "CAP_SETUID")),
    ],
)
def test_c4_what_the_server_may_do_is_what_its_process_has_now(
    line: str, missing: tuple[str, ...], tmp_path: Path
) -> None:
    """Its effective capabilities count, whoever it is; where the kernel does not tell, it has none."""
    (tmp_path / "status").write_text(f"Name:\tserver\n{line}\nCapBnd:\t000001ffffffffff\n")
    assert own_rights(tmp_path / "status").missing == missing
    assert own_rights(tmp_path / "gone").missing == ("CAP_KILL", "CAP_SETGID", "CAP_SETUID")


def test_c4_a_user_is_refused_with_all_else_that_is_wrong() -> None:
    other = next(user.pw_name for user in pwd.getpwall() if user.pw_uid not in {0, os.geteuid()})
    facts = replace(FACTS, rights=replace(RIGHTS, missing=("CAP_SETUID",)))
    with pytest.raises(ScorestreamError, match=f"run another server as '{other}'") as caught:
        settings_of({"run_server_as": other, "task_timeout": -1}, facts, "context")
    assert [fault.field for fault in caught.value.faults] == ["context.run_server_as", "context.task_timeout"]
    assert settings_of({"run_server_as": OWN_NAME}, facts, "context").run_server_as == OWN_NAME


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*ATTRIBUTES, "nothing"]), _VALUES))
def test_whatever_is_given_is_taken_or_refused_with_its_name(values: dict[str, object]) -> None:
    """Nothing else comes of it; what was taken is taken again unchanged."""
    faults: Sequence[FieldFault] = ()
    kept = ContextSettings()
    try:
        kept = settings_of(values, FACTS, "context")
    except ScorestreamError as error:
        faults = error.faults or [FieldFault("nameless", error.message)]
    assert all(fault.field.split(".")[1] in values for fault in faults)
    again = {name: value for name, value in attributes_of(kept).items() if name != "task_timeout" or value}
    assert settings_of(again, FACTS, "context") == kept


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("", ""),
        ("---", ""),
        ("nightly-", "nightly-"),
        ("Nightly Batch", "nightly-batch-"),
        ("-7 up", "7-up-"),
        ("x" * 200, "x" * 99 + "-"),
        ("x" * 99 + "-tail", "x" * 99 + "-"),
    ],
)
def test_a_job_name_prefix_is_mended_and_not_refused(text: str, prefix: str) -> None:
    assert said(job_name_prefix=text).job_name_prefix == prefix


@given(st.text(max_size=150))
def test_every_text_stands_for_a_prefix_by_the_rule(text: str) -> None:
    """Lower-case letters, digits, hyphens; none first, one last; at most 100; what is one already stays as it is."""
    prefix = mended_prefix(text)
    assert prefix == "" or re.fullmatch(r"[a-z0-9][a-z0-9-]{0,98}-", prefix)
    assert mended_prefix(prefix) == prefix
    assert bool(prefix) == any(
        character in "abcdefghijklmnopqrstuvwxyz0123456789" for character in text.lower()
    )


@pytest.mark.parametrize(("own", "most", "limit"), [(0, 0, 0), (5, 0, 5), (0, 7, 7), (5, 7, 5), (9, 7, 7)])
def test_a_job_runs_no_longer_than_context_and_server_let_it(own: float, most: float, limit: float) -> None:
    """An operator who lowers the server's maximum lowers what stored contexts allow, too."""
    assert task_limit(ContextSettings(task_timeout=own), most) == limit
