"""The operator's configuration file: what it makes, and that a faulty one is refused as a whole."""

from pathlib import Path

import pytest

from scorestream_server.__main__ import parse
from scorestream_server.contexts.built_in import built_in_contexts
from scorestream_server.domain.queue import Queue

GOOD = """
[queues.batch]
weight = 300
running_jobs = 4
waiting_jobs = 1000

[queues.quick]

[contexts.default]
session_inactive_timeout = 60

[contexts.nightly]
queue_name = "batch"
reuse_server_processes = true
server_min_available = 1
task_timeout = 7200.5
service_tags = ["cc-fraud", "churn", "cc-fraud"]
stage_tags = ["PROD"]
[contexts.nightly.labels]
team = "risk"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "scorestream.toml"


def refused(file: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> list[str]:
    """Return what is said of the file, by lines; the server does not start, and exits with 2."""
    with pytest.raises(SystemExit) as end:
        parse(["--device", "cpu", "--config", str(file), *flags])
    assert end.value.code == 2
    return capsys.readouterr().err.partition("error: --config: ")[2].splitlines()


def test_a_file_gives_contexts_and_queues(file: Path) -> None:
    """The default context stays the server's own, with what the file says of it."""
    file.write_text(GOOD)
    config = parse(["--device", "cpu", "--config", str(file)])
    assert config.queues == (Queue("batch", 300, 4, 1000), Queue("quick"))
    contexts = built_in_contexts(config)
    assert list(contexts) == ["default", "nightly"]
    default, nightly = contexts["default"], contexts["nightly"]
    assert default.settings.session_inactive_timeout == 60
    assert default.settings.pool.reuse_server_processes
    assert nightly.settings.queue_name == "batch"
    assert nightly.settings.task_timeout == 7200.5
    assert nightly.settings.labels == {"team": "risk"}
    assert nightly.settings.service_tags == ("cc-fraud", "churn")
    assert nightly.settings.stage_tags == ("PROD",)
    assert nightly.settings.pool.server_min_available == 1
    for context in contexts.values():
        assert context.built_in
        assert context.origin == f"the configuration file {file}"
    again = built_in_contexts(parse(["--device", "cpu", "--config", str(file)]))
    assert [context.etag for context in again.values()] == [default.etag, nightly.etag]


def test_without_a_file_there_are_the_default_context_and_queue() -> None:
    config = parse(["--device", "cpu"])
    assert config.queues == ()
    assert list(built_in_contexts(config)) == ["default"]
    assert built_in_contexts(config)["default"].origin == "the server itself"


def test_all_that_is_wrong_in_a_file_is_told_with_its_place(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("""
pools = 3
[queues.batch]
weight = 0
runing_jobs = 4
[queues."bad name"]
[contexts]
x = 3
[contexts.default]
device = "cpu"
server_min_available = 2
[contexts.nightly]
device = "cuda:7"
server_min_available = 5
server_max_available = 2
queue_name = "bach"
task_timeout = 101
""")
    lines = refused(file, capsys, "--max-task-timeout", "100")
    assert lines[0] == f"11 things are wrong in {file}:"
    assert [line.split(": ")[0].strip() for line in lines[1:]] == [
        "pools",
        "queues.bad name",
        "queues.batch.weight",
        "queues.batch.runing_jobs",
        "contexts.x",
        "contexts.default.device",
        "contexts.default.server_min_available",
        "contexts.nightly.device",
        "contexts.nightly.queue_name",
        "contexts.nightly.task_timeout",
        "contexts.nightly.server_min_available",
    ]
    assert "did you mean running_jobs?" in lines[4]
    assert "did you mean batch?" in lines[9]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[contexts.a]\ndevice = ", "is no TOML: Invalid value (at"),
        (b"\xff\xfe", "is no TOML: "),
        (b"[queues.a]\nwaiting_jobs = 0", "queues.a.waiting_jobs: 0 is not from 1"),
        (b"queues = 3", "queues: it is no table"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_configuration_file_says_why(
    file: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, told: str
) -> None:
    if content is not None:
        file.write_bytes(content)
    assert told in "\n".join(refused(file, capsys))


def test_the_longest_task_is_a_number_of_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    """None unless told."""
    assert parse(["--device", "cpu"]).max_task_timeout == 0
    assert parse(["--device", "cpu", "--max-task-timeout", "90"]).max_task_timeout == 90
    with pytest.raises(SystemExit):
        parse(["--device", "cpu", "--max-task-timeout", "-1"])
    assert "--max-task-timeout must be from 0" in capsys.readouterr().err
