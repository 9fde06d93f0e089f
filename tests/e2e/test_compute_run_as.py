"""Row C4, `run_server_as`: workers that run as another user of the system, and what that user still cannot reach.

The servers here are real ones, with a group of their own: one of root, and one of a user that may switch users.
"""

import contextlib
import functools
import grp
import json
import os
import pwd
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import psutil
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import scorestream
import scorestream_server
from nightly import SCORE_CODE, expected_scores
from scorestream import State
from scorestream_server.domain.account import own_rights
from served import served

USER = "nobody"
SERVERS_USER = "daemon"
LONG = " + ".join(["EXP(LN(ABS(var1) + 1))"] * 40) + " AS p_var1"
CLOSED = """
import ctypes, json, os, sys
def tried(what):
    try:
        what()
    except OSError as error:
        return type(error).__name__
    return "done"
def attached(pid):
    if ctypes.CDLL(None, use_errno=True).ptrace(16, pid, None, None):
        raise OSError(ctypes.get_errno(), "ptrace")
    ctypes.CDLL(None).ptrace(17, pid, None, None)
paths, pid = json.loads(sys.argv[1])
told = {}
for path in paths:
    told["list " + path] = tried(lambda: os.listdir(path)) if os.path.isdir(path) or not os.path.exists(path) else ""
    told["read " + path] = tried(lambda: open(path, "rb").close())
    told["write " + path] = tried(lambda: open(path, "r+b").close())
    told["make " + path] = tried(lambda: os.mkdir(path + "/made"))
if pid:
    for name in ("environ", "mem"):
        told[name] = tried(lambda: open(f"/proc/{pid}/{name}", "rb").read(1))
    told["fd"] = tried(lambda: [os.readlink(f"/proc/{pid}/fd/{one}") for one in os.listdir(f"/proc/{pid}/fd")])
    told["trace"] = tried(lambda: attached(pid))
print(json.dumps(told))
"""
AS_WORKER = """
import subprocess, sys
from pathlib import Path
from scorestream_server.workers.run_as import FLAGS, guise
found = guise(sys.argv[1], Path(sys.argv[2]))
done = subprocess.run([sys.executable, *FLAGS, "-c", *sys.argv[3:]], env=found.variables, **found.how())
sys.exit(done.returncode)
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or bool(own_rights().missing), reason="needs root, to start processes of other users"
)


@pytest.fixture(autouse=True)
def identified() -> None:
    """These servers ask nobody who they are; the token of the one that other tests share would be refused."""


@dataclass(frozen=True)
class Place:
    """A server with a group of its own, and folders that all may pass through.

    Attributes:
        python: the command that runs Python as the server's user, with the server's rights.
    """

    client: scorestream.Client
    process: psutil.Process
    folder: Path
    python: Sequence[str]

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def caches(self) -> tuple[Path, Path]:
        return self.folder / "fast", self.folder / "slow"

    def places(self, table: scorestream.Table) -> tuple[Path, ...]:
        """Return where a table's file in the cache is, and its copies, as the store has it."""
        with contextlib.closing(sqlite3.connect(self.data / "scorestream.db")) as store:
            query = "SELECT data FROM tables WHERE session_id = ? AND table_id = ? AND NOT dropped"
            ((found,),) = store.execute(query, (table.session_id, table.name))
        (one,) = json.loads(found)["cached"]
        return tuple(map(Path, (one["path"], *one["copies"])))

    def cached(self) -> set[Path]:
        """Return what there is in the cache directories, folders too."""
        return {path for cache in self.caches for path in cache.rglob("*")}

    def worker(self, context: str = "other") -> psutil.Process:
        (one,) = self.client.contexts.workers(context).workers
        return psutil.Process(one.pid)


@functools.cache
def python_for_all() -> str:
    """Return a Python that the other user may run, with what is installed for the tests."""
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        with contextlib.suppress(OSError):
            asked = [python, "-c", "import scorestream_server, numba, pyarrow, grpc"]
            if not subprocess.run(
                asked, env=variables(), user=USER, check=False, capture_output=True
            ).returncode:
                return python
    pytest.skip(f"needs a Python 3.{sys.version_info.minor} that user {USER!r} may run")


def variables() -> dict[str, str]:
    """Return the environment in which any such Python finds what the tests run."""
    sources = [Path(module.__path__[0]).parent for module in (scorestream, scorestream_server)]
    found = [*map(str, sources), *dict.fromkeys(map(sysconfig.get_path, ("purelib", "platlib")))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(found), "PYTHONDONTWRITEBYTECODE": "1"}


def free_group() -> int:
    used = {group.gr_gid for group in grp.getgrall()} | {user.pw_gid for user in pwd.getpwall()}
    return next(number for number in range(52_000, 60_000) if number not in used)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that others may pass through; those of pytest are closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="scorestream-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def switching(kind: str, python: str, home: Path) -> list[str]:
    """Return the command that runs Python as a user who may switch users, in a group of its own."""
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv")
    group = ["setpriv", "--regid", str(free_group()), "--clear-groups"]
    if kind == "root":
        return [*group, python]
    rights = "+setuid,+setgid,+kill"
    user = ["--reuid", SERVERS_USER, "--inh-caps", rights, "--ambient-caps", rights]
    only = ["--bounding-set", f"-all,{rights}", "env", f"HOME={home}", python]
    return [*group, *user, *only]


def make_folders(folder: Path, kind: str) -> None:
    """Make the folders of a server, which its user owns; of a plain user's, with what this machine has compiled before."""
    owner = pwd.getpwnam(SERVERS_USER if kind == "ambient" else "root").pw_uid
    for name, mode in (("home", 0o755), ("root", 0o755), ("data", 0o700), ("fast", 0o700), ("slow", 0o700)):
        (folder / name).mkdir(mode=mode)
        os.chown(folder / name, owner, -1)
    compiled = platformdirs.user_cache_path("scorestream") / "kernels"
    if kind == "ambient" and compiled.is_dir():
        for place in (folder / "home/.cache/scorestream/kernels", folder / "data/kernels" / USER):
            shutil.copytree(compiled, place)
        for path in [*(folder / "home").rglob("*"), folder / "data/kernels"]:
            os.chown(path, owner, -1)
        for path in (folder / "data/kernels").rglob("*"):
            os.chown(path, pwd.getpwnam(USER).pw_uid, -1)


@pytest.fixture(scope="module", params=["root", pytest.param("ambient", marks=pytest.mark.long)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with open_folder() as folder:
        make_folders(folder, request.param)
        python = switching(request.param, python_for_all(), folder / "home")
        caches = [f"--cache-dir={folder / name}" for name in ("fast", "slow")]
        flags = ("--device", "cpu", "--data-root", str(folder / "root"), *caches)
        with served(folder / "data", *flags, environment=variables(), python=python) as (client, process):
            client.register_model("scorer", source=SCORE_CODE)
            client.register_model("long", source=LONG)
            client.contexts.create("other", run_server_as=USER)
            yield Place(client, process, folder, python)


def scored(job: scorestream.Job) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = job.to_table()["p_var1"].to_numpy()
    return found


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: " ".join(value.split()) for name, _, value in (line.partition(":") for line in lines)}


def held(pid: int) -> list[tuple[Path, int]]:
    """Return the files that a process has open, and how it may use them."""
    found = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            flags = re.search(
                r"^flags:\s+(\d+)$", Path(f"/proc/{pid}/fdinfo/{one.name}").read_text(), re.MULTILINE
            )
            assert flags is not None
            found.append((one.readlink(), int(flags[1], 8)))
    return found


def reached(place: Place, paths: Sequence[Path], pid: int = 0, *, as_worker: bool) -> dict[str, str]:
    """Have a process of the other user try everything, with or without what makes a worker of it."""
    asked = json.dumps([list(map(str, paths)), pid])
    if as_worker:
        command = [*place.python, "-c", AS_WORKER, USER, str(place.data / "kernels"), CLOSED, asked]
        done = subprocess.run(command, env=variables(), check=True, capture_output=True, text=True)
    else:
        user = pwd.getpwnam(USER)
        how = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": os.getgrouplist(USER, user.pw_gid)}
        command = [python_for_all(), "-c", CLOSED, asked]
        done = subprocess.run(command, env=variables(), check=True, capture_output=True, text=True, **how)  # type: ignore[call-overload]
    return dict(json.loads(done.stdout))


def test_c4_a_contexts_workers_run_as_the_user_that_it_names(place: Place, customers: pa.Table) -> None:
    """In all three of its ids, with its own groups beside the server's, without any capability; scores are as ever."""
    with place.client.create_session("who", context="other") as session:
        job = session.score("scorer", session.load_table(customers, name="rows"), partition_rows=10_000)
        assert job.wait().state is State.SUCCEEDED
        assert scored(job) == pytest.approx(expected_scores(customers), abs=1e-12)
        found, own, user = status(place.worker().pid), status(place.process.pid), pwd.getpwnam(USER)
        assert found["Uid"] == " ".join([str(user.pw_uid)] * 4)
        assert found["Gid"] == own["Gid"]
        assert set(found["Groups"].split()) == set(map(str, os.getgrouplist(USER, user.pw_gid)))
        assert {found[name] for name in ("CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        assert found["NoNewPrivs"] == "1"
        own_workers = [one for one in place.process.children() if one.pid != place.worker().pid]
        assert {status(one.pid)["Uid"] for one in own_workers} == {own["Uid"]}
        assert {status(one.pid)["CapAmb"] for one in own_workers} == {"0" * 16}
        if own["Uid"].split()[0] != "0":
            assert {status(one.pid)["CapEff"] for one in own_workers} == {"0" * 16}
        (lock,) = [one for one in held(place.worker().pid) if one[0] == place.data / "server.lock"]
        assert lock[1] & os.O_ACCMODE == os.O_RDONLY
        files = sorted((place.data / "sessions" / session.id / "jobs" / job.id).rglob("*"))
        assert [path.name for path in files] == [f"part-{index:05d}.arrow" for index in range(len(files))]
        assert len(files) == job.info.partitions_total
        assert {path.stat().st_uid for path in files} == {user.pw_uid}
        folder = place.data / "sessions" / session.id
        pid = place.worker().pid
    assert not folder.exists()
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(30)


def test_c4_whatever_a_job_reads_and_becomes_goes_through_such_a_worker(
    place: Place, customers: pa.Table
) -> None:
    """Files of a data root and of the home, converted CSV, tables of jobs, outputs, a resumed job; all ends with it."""
    pq.write_table(customers, place.root / "in.parquet", row_group_size=9_000)
    (place.root / "in.parquet").chmod(0o644)
    expected = expected_scores(customers)
    with place.client.create_session("all", context="other") as session:
        source = place.folder / "home" / "source.parquet"
        pq.write_table(customers, source)
        session.files.make_directory("deep")
        session.files.upload(source, "deep/in.parquet")
        tables = [session.load_table("in.parquet"), session.load_table("home:deep/in.parquet", name="home")]
        for table in tables:
            assert scored(session.score("scorer", table, partition_rows=20_000)) == pytest.approx(expected)
        session.score(
            "scorer", tables[0], keep=["var1", "var2", "var3"], out="made", partition_rows=20_000
        ).wait()
        again = session.score("scorer", "made", out_path="home:out.csv")
        assert again.wait().state is State.SUCCEEDED
        converted = session.load_table("home:out.csv", name="converted")
        job = session.score("scorer", "made", where="var1 > 0.5")
        assert len(scored(job)) == int((customers["var1"].to_numpy() > 0.5).sum())
        assert len(converted.read(limit=5)) == 5

        broken = session.score("long", tables[0], partition_rows=500)
        assert next(broken.results()).num_rows > 0
        with pytest.raises(scorestream.JobCancelledError):
            broken.cancel().wait()
        resumed = broken.resume()
        assert 0 < resumed.info.partitions_done < resumed.info.partitions_total
        long = sum(np.abs(customers["var1"].to_numpy()) + 1 for _ in range(40))
        assert scored(resumed) == pytest.approx(long)
        folder = place.data / "sessions" / session.id
    assert not folder.exists()


def test_c4_such_a_worker_gets_at_what_its_jobs_need_and_at_nothing_else(
    place: Place, customers: pa.Table
) -> None:
    """Not at the store, the audit log, the lock, nor sessions of other contexts; other processes of its user at nothing."""
    with (
        place.client.create_session("own", context="other") as session,
        place.client.create_session("foreign") as foreign,
    ):
        place.client.register_model("unused", source="var2 AS never_used")
        data = place.data
        earlier = place.cached()
        session.score("scorer", session.load_table(customers.slice(0, 100), name="rows")).wait()
        own = place.cached() - earlier
        foreign.score("scorer", foreign.load_table(customers.slice(0, 100), name="rows")).wait()
        private = [
            data,
            data / "scorestream.db",
            data / "scorestream.db-wal",
            data / "audit.log",
            data / "server.lock",
        ]
        private += [data / "publishing", data / "sessions", data / "models", *place.caches]
        private += sorted(place.cached() - earlier - own)
        private += [data / "sessions" / foreign.id, *sorted((data / "sessions" / foreign.id).rglob("*"))]
        unused = [path for path in (data / "models").iterdir() if path.read_text() == "var2 AS never_used"]
        assert len(unused) == 1
        results = sorted((data / "sessions" / session.id / "jobs").rglob("*.arrow"))
        uploads = sorted(path for path in own if path.suffix == ".arrow")
        assert (len(results), len(uploads)) == (1, 2)  # the upload and its copy
        pid = place.worker().pid
        told = reached(place, private + unused, as_worker=True)
        assert {what for what, outcome in told.items() if outcome == "done"} == set()
        told = reached(place, results + uploads, as_worker=True)
        assert {what for what, outcome in told.items() if outcome == "done"} == {
            *(f"read {path}" for path in results + uploads),
            *(f"write {path}" for path in results),
        }
        told = reached(place, private + unused + results + uploads, pid, as_worker=False)
        assert {what for what, outcome in told.items() if outcome == "done"} == set()
        assert {told["environ"], told["mem"], told["fd"], told["trace"]} == {"PermissionError"}


def test_c4_such_a_worker_reads_copies_and_what_was_loaded_again(place: Place, customers: pa.Table) -> None:
    """It mends nothing, for it may not write there: it reads the copy, or the table is loaded again."""
    expected = expected_scores(customers)
    pacsv.write_csv(customers, place.root / "again.csv")
    (place.root / "again.csv").chmod(0o644)
    with place.client.create_session("cached", context="other") as session:
        table = session.load_table("again.csv", name="converted")
        path, copy = place.places(table)
        os.truncate(path, 1000)
        job = session.score("scorer", table)
        assert scored(job) == pytest.approx(expected)
        (warning,) = job.info.warnings
        assert f"'{path}' has 1,000 bytes" in warning
        assert f"It was read from its copy '{copy}', and could not be restored." in warning
        os.truncate(copy, 1000)
        job = session.score("scorer", table)
        assert scored(job) == pytest.approx(expected)
        assert "was loaded again from its sources" in job.info.warnings[0]
        # What a worker of the server's own user has mended is as open as it was.
        new = place.places(table)[0]
        assert new != path
        os.truncate(new, 1000)
        assert len(table.head(1)) == 1
        assert new.stat().st_size > 1000
        assert session.score("scorer", table).wait().state is State.SUCCEEDED
        assert place.client.cache.evict(table).bytes > 0
        assert session.score("scorer", table).wait().state is State.SUCCEEDED


def test_c4_such_a_worker_reads_versions_of_files_that_were_replaced(
    place: Place, customers: pa.Table
) -> None:
    """Also one that is kept while its folder is not there yet; the user's rights are those to the file of before."""
    source = place.root / "replaced.parquet"
    pq.write_table(customers, source, row_group_size=9_000)
    source.chmod(0o644)
    os.chown(source, place.data.stat().st_uid, -1)
    with place.client.create_session("kept", context="other") as session:
        table = session.load_table("replaced.parquet", name="before")
        other = session.load_table(customers.slice(0, 10), name="other")
        other.save("replaced.parquet", replace=True)
        assert len(list((place.data / "kept").iterdir())) == 1
        assert scored(session.score("scorer", table)) == pytest.approx(expected_scores(customers))
        now = session.load_table("replaced.parquet", name="now")
        assert len(scored(session.score("scorer", now))) == 10
    assert list((place.data / "kept").iterdir()) == []


def test_c4_other_processes_of_the_user_cannot_trace_one_that_has_not_closed_itself_yet(place: Place) -> None:
    """The group alone keeps them off, from the first instruction on."""
    waits = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
    command = [*place.python, "-c", AS_WORKER, USER, str(place.data / "kernels"), waits]
    with subprocess.Popen(
        command, env=variables(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert status(pid)["NoNewPrivs"] == "0"
        told = reached(place, [], pid, as_worker=False)
        process.communicate("")
    assert told == dict.fromkeys(("environ", "mem", "fd", "trace"), "PermissionError")


def test_c4_a_file_that_the_user_may_not_read_fails_the_job_and_names_the_user(
    place: Place, customers: pa.Table
) -> None:
    """Data roots are read with that user's rights, though the server itself may read more."""
    secret = place.root / "secret.parquet"
    pq.write_table(customers.slice(0, 10), secret)
    secret.chmod(0o600)
    os.chown(secret, place.data.stat().st_uid, -1)
    with place.client.create_session("secret", context="other") as session:
        job = session.score("scorer", session.load_table("secret.parquet"))
        with pytest.raises(
            scorestream.JobFailedError, match=rf"secret\.parquet' .*may not be read by user '{USER}'"
        ):
            job.wait()
        failure = job.refresh().info.failure
        assert failure is not None
        assert (failure.code, failure.reason) == ("PERMISSION_DENIED", "FILE_NOT_READABLE")
    secret.unlink()


def test_c4_a_folder_that_the_user_may_not_pass_through_is_no_change_of_the_file(
    place: Place, customers: pa.Table
) -> None:
    """The job says who may not read what, and not that the file was changed."""
    closed = place.root / "closed"
    closed.mkdir(mode=0o755)
    pq.write_table(customers.slice(0, 10), closed / "in.parquet")
    (closed / "in.parquet").chmod(0o644)
    os.chown(closed, place.data.stat().st_uid, -1)
    with place.client.create_session("closed", context="other") as session:
        table = session.load_table("closed/in.parquet")
        closed.chmod(0o700)
        job = session.score("scorer", table)
        with pytest.raises(
            scorestream.JobFailedError, match=rf"in\.parquet' may not be read by user '{USER}'"
        ):
            job.wait()
        failure = job.refresh().info.failure
        assert failure is not None
        assert (failure.code, failure.reason) == ("PERMISSION_DENIED", "FILE_NOT_READABLE")


def test_c4_such_a_worker_may_die_and_be_ended_as_any_other(place: Place, customers: pa.Table) -> None:
    """By whomever; its job is done by the next one. One in the middle of a job is ended by force."""
    with place.client.create_session("killed", context="other") as session:
        table = session.load_table(customers, name="rows")
        job = session.score("long", table, partition_rows=1_000)
        assert any(event.state is State.RUNNING for event in job.watch())
        first = place.worker().pid
        os.kill(first, signal.SIGKILL)
        assert job.wait(timeout=120).state is State.SUCCEEDED
        assert place.worker().pid != first
        left = [path for path in (place.data / "sessions" / session.id).rglob("*") if path.suffix == ".tmp"]
        assert left == []
    session = place.client.create_session("forced", context="other")
    job = session.score("long", session.load_table(customers, name="rows"), partition_rows=60_000)
    assert any(event.state is State.RUNNING for event in job.watch())
    worker = place.worker()
    worker.suspend()  # so that it cannot end by itself
    session.terminate(force=True)
    worker.wait(30)


def test_c4_nothing_of_the_users_home_is_run(place: Place, customers: pa.Table) -> None:
    """Compiled kernels lie in the data directory, and modules of the home are not looked at."""
    with place.client.create_session("home", context="other") as session:
        session.score("scorer", session.load_table(customers.slice(0, 10), name="rows")).wait()
        command = place.worker().cmdline()
        assert {"-s", "-P"} <= set(command)
    own = place.data / "kernels" / USER
    assert own.stat().st_uid == pwd.getpwnam(USER).pw_uid
    assert not stat.S_IMODE(own.stat().st_mode) & 0o022
    assert stat.S_IMODE((place.data / "kernels").stat().st_mode) == 0o1770


@pytest.mark.parametrize("closed", ["python", "data"])
def test_c4_a_start_that_the_user_cannot_make_fails_with_what_is_closed_to_it(
    closed: str, customers: pa.Table
) -> None:
    """The Python environment, or a folder above the data directory: the job says which, and for whom."""
    with open_folder() as folder:
        (folder / "closed").mkdir(mode=0o700)
        python = python_for_all()
        if closed == "python":
            (folder / "closed" / "python3").symlink_to(python)
            python = str(folder / "closed" / "python3")
        data = folder / ("closed/data" if closed == "data" else "data")
        command = switching("root", python, folder)
        with served(data, "--device", "cpu", environment=variables(), python=command) as (client, _):
            client.register_model("scorer", source=SCORE_CODE)
            client.contexts.create("other", run_server_as=USER)
            with client.create_session("never", context="other") as session:
                job = session.score("scorer", session.load_table(customers.slice(0, 10), name="rows"))
                with pytest.raises(
                    scorestream.JobFailedError, match=re.escape(str(folder / "closed"))
                ) as caught:
                    job.wait()
    assert f"user '{USER}'" in str(caught.value)


def test_c4_jobs_of_such_workers_go_on_after_the_server_was_killed(customers: pa.Table) -> None:
    """On a data directory that was closed to all others, and with the partitions that its workers had committed."""
    with open_folder() as folder:
        make_folders(folder, "ambient")
        command = switching("ambient", python_for_all(), folder / "home")
        flags = ("--device", "cpu")
        with served(folder / "data", *flags, environment=variables(), python=command) as (client, process):
            client.register_model("long", source=LONG)
            client.contexts.create("other", run_server_as=USER)
            job = client.create_session("dies", context="other").score("long", customers, partition_rows=500)
            assert next(job.results()).num_rows > 0
            process.kill()
            process.wait(30)
        with served(folder / "data", *flags, environment=variables(), python=command) as (client, _):
            again = client.get_job(job.id)
            assert again.wait(timeout=120).state is State.SUCCEEDED
            expected = sum(np.abs(customers["var1"].to_numpy()) + 1 for _ in range(40))
            assert scored(again) == pytest.approx(expected)
            client.get_session(again.info.session_id).terminate()
        assert list((folder / "data" / "sessions").iterdir()) == []


def test_c4_users_are_refused_with_what_would_be_needed(place: Place) -> None:
    """Root, users that there are not, and users of the server's group; with all that is wrong beside it."""
    owner = place.process.username()
    for name, told in (
        ("no_such_user_at_all", "there is no user"),
        *([("root", "only where the server does")] if owner != "root" else []),
    ):
        with pytest.raises(scorestream.InvalidArgumentError, match=told) as caught:
            place.client.contexts.create("bad", run_server_as=name, task_timeout=-1)
        assert {fault.field for fault in caught.value.faults} == {
            "context.run_server_as",
            "context.task_timeout",
        }


def test_c4_files_stay_closed_where_no_context_runs_as_another_user(customers: pa.Table) -> None:
    """A server that may switch users opens nothing before it is asked to."""
    with open_folder() as folder:
        command = switching("root", python_for_all(), folder)
        with served(folder / "data", "--device", "cpu", environment=variables(), python=command) as (
            client,
            _,
        ):
            client.register_model("scorer", source=SCORE_CODE)
            client.contexts.create("same", run_server_as="root")
            with client.create_session("plain", context="same") as session:
                session.score("scorer", session.load_table(customers.slice(0, 10), name="rows")).wait()
                kept = [folder / "data", *(folder / "data").rglob("*")]
                assert {path: oct(path.stat().st_mode) for path in kept if path.stat().st_mode & 0o077} == {}


def test_b2_a_model_is_opened_by_such_a_worker_when_it_is_deployed(place: Place) -> None:
    """The worker gets at the model before any job does, so that DEPLOYED says that it can be scored there."""
    place.client.contexts.tag("other", service=["cc-fraud"], stage=["PROD"])
    model = place.client.register_model("not_seen_before", source="var1 * 7 AS seventh")
    made = place.client.deployments.create(model, service_tag="cc-fraud", stage="PROD")
    assert (made.state, made.info.reason, made.info.context) == ("DEPLOYED", "", "other")
    made.retire()
