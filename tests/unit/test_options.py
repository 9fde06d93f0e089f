"""Which of server, context and session says what an option is, and what values options take."""

import pytest

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.job import Priority
from scorestream_server.domain.option import (
    OPTIONS,
    JobDefaults,
    Origin,
    check_options,
    effective,
    job_defaults,
)


def test_the_session_wins_over_its_context_and_that_over_the_server() -> None:
    found = effective({"timeout": "60", "priority": "low", "gone": "1"}, {"priority": "high"})
    assert set(found) == set(OPTIONS)
    assert {name: (setting.value, setting.origin) for name, setting in found.items()} == {
        "partition_rows": ("0", Origin.SERVER),
        "priority": ("high", Origin.SESSION),
        "queue_timeout": ("0", Origin.SERVER),
        "timeout": ("60", Origin.CONTEXT),
    }
    assert job_defaults(found) == JobDefaults(0, Priority.HIGH, 0.0, 60.0)


def test_every_default_is_one_of_its_options_values() -> None:
    defaults = {name: option.default for name, option in OPTIONS.items()}
    assert check_options(defaults) == defaults
    assert job_defaults(effective({}, {})) == JobDefaults(0, Priority.NORMAL, 0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("timeout", " 60 ", "60"),
        ("timeout", "0.50", "0.5"),
        ("timeout", "31622400", "31622400"),
        ("timeout", "31622400.1", None),
        ("timeout", "-1", None),
        ("timeout", "1e3", None),
        ("timeout", "inf", None),
        ("timeout", "", None),
        ("partition_rows", "007", "7"),
        ("partition_rows", "1.5", None),
        ("partition_rows", str(1 << 40), str(1 << 40)),
        ("partition_rows", str((1 << 40) + 1), None),
        ("partition_rows", "9" * 5000, None),
        ("priority", "HIGH", "high"),
        ("priority", "1", None),
        ("Priority", "high", None),
    ],
)
def test_values_are_checked_and_written_in_one_way(name: str, text: str, kept: str | None) -> None:
    if kept is not None:
        assert check_options({name: text}) == {name: kept}
        return
    with pytest.raises(ScorestreamError) as caught:
        check_options({name: text, "queue_timeout": "soon"}, "settings.options")
    assert caught.value.reason == "INVALID_OPTION"
    assert [fault.field for fault in caught.value.faults] == [
        f"settings.options.{name}",
        "settings.options.queue_timeout",
    ]
