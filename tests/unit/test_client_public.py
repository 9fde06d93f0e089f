"""What `import scorestream` offers, and that the blocking client is the asyncio one, made blocking."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import scorestream
import scorestream.aio

ROOT = Path(__file__).parents[2]
PUBLIC = [
    "AbortedError",
    "AlreadyExistsError",
    "BackingStore",
    "Batch",
    "BatchResult",
    "BatchState",
    "Cache",
    "CacheDirectory",
    "CacheInfo",
    "CacheUse",
    "CachedTable",
    "Client",
    "ColumnInfo",
    "ContextInfo",
    "Contexts",
    "DataLossError",
    "DeadlineExceededError",
    "Deployment",
    "DeploymentInfo",
    "DeploymentState",
    "Deployments",
    "Device",
    "DeviceProcess",
    "Engine",
    "Event",
    "EventType",
    "Evicted",
    "Execution",
    "FailedPreconditionError",
    "Fault",
    "FeatureType",
    "FileInfo",
    "FilerefInfo",
    "IncidentInfo",
    "IncidentState",
    "InternalError",
    "InvalidArgumentError",
    "Job",
    "JobCancelledError",
    "JobFailedError",
    "JobFailure",
    "JobInfo",
    "JobTimedOutError",
    "Libraries",
    "LibraryInfo",
    "LogLine",
    "LogLineType",
    "Missed",
    "Model",
    "ModelComparison",
    "ModelDifference",
    "ModelFeature",
    "ModelInfo",
    "ModelOutput",
    "ModelTraining",
    "NotFoundError",
    "OnRowError",
    "Option",
    "Options",
    "Origin",
    "OutOfRangeError",
    "OutputOptions",
    "PermissionDeniedError",
    "Priority",
    "Process",
    "ProcessInfo",
    "ProcessState",
    "Processes",
    "QueueInfo",
    "RequestCancelledError",
    "ResourceExhaustedError",
    "ResultLink",
    "ResultType",
    "Role",
    "ScheduleInfo",
    "Schedules",
    "ScorestreamError",
    "Service",
    "Session",
    "SessionInfo",
    "SessionState",
    "SourceChange",
    "State",
    "StatusRow",
    "Table",
    "TableDescription",
    "TableInfo",
    "TableSource",
    "TokenInfo",
    "Trace",
    "TraceNode",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UnknownError",
    "Variables",
    "connect",
    "local",
]


def test_the_public_names_are_pinned() -> None:
    """A name that users can import appears or goes only on purpose, and each can be loaded."""
    assert scorestream.__all__ == PUBLIC
    assert all(getattr(scorestream, name).__name__ == name for name in PUBLIC)
    assert set(PUBLIC) <= set(dir(scorestream))
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = scorestream.nothing_like_it


@pytest.mark.parametrize(
    "name",
    [
        "Client",
        "Session",
        "Job",
        "Table",
        "Model",
        "Contexts",
        "Cache",
        "Libraries",
        "Service",
        "Batch",
        "BatchResult",
    ],
)
def test_both_clients_have_the_same_names(name: str) -> None:
    """Whatever one offers, the other offers with the same parameters."""
    blocking, waiting = getattr(scorestream, name), getattr(scorestream.aio, f"Async{name}")

    def offered(kind: type) -> dict[str, list[str]]:
        return {
            key: list(inspect.signature(value).parameters) if callable(value) else []
            for key, value in vars(kind).items()
            if not key.startswith("_")
        }

    assert offered(blocking) == offered(waiting)


def test_what_is_generated_matches_its_sources() -> None:
    """The committed stubs and the committed blocking client are what the tool makes now."""
    check = [sys.executable, str(ROOT / "tools" / "generate.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`scorestream --help` and shell completion stay quick."""
    code = "import scorestream, scorestream.cli, sys; print({'grpc', 'pyarrow', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
