"""Generate what is generated: the wire stubs from `proto/`, and the blocking client from the asyncio one.

Run it after a change to `proto/` or to `client/scorestream/aio/`. `--check` writes nothing and says
whether what is committed matches its sources.
"""

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc_tools
import unasync
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
CLIENT = ROOT / "client" / "scorestream"
BANNER = "# Generated from aio/{name} by tools/generate.py. Change that file, not this one.\n"
RENAMED = {
    "transport_aio": "transport",
    "mapping_aio": "mapping",
    "aclosing": "closing",
    "anext": "next",
    "AsyncClient": "Client",
    "AsyncConnection": "Connection",
    "AsyncSession": "Session",
    "AsyncJob": "Job",
    "AsyncTable": "Table",
    "AsyncModel": "Model",
    "AsyncRegistry": "Registry",
    "AsyncLease": "Lease",
    "AsyncLibraries": "Libraries",
    "AsyncSharedTables": "SharedTables",
    "AsyncTableActions": "TableActions",
    "AsyncContexts": "Contexts",
    "AsyncDeployment": "Deployment",
    "AsyncDeployments": "Deployments",
    "AsyncCache": "Cache",
    "AsyncBatch": "Batch",
    "AsyncBatchResult": "BatchResult",
    "AsyncService": "Service",
    "AsyncServices": "Services",
    "AsyncFiles": "Files",
    "AsyncFilerefs": "Filerefs",
    "AsyncPapers": "Papers",
    "AsyncJobPapers": "JobPapers",
    "AsyncSessionPapers": "SessionPapers",
    "AsyncOptions": "Options",
    "AsyncVariables": "Variables",
    "AsyncRowArtifacts": "RowArtifacts",
    "AsyncProcess": "Process",
    "AsyncProcesses": "Processes",
    "AsyncSchedules": "Schedules",
    "AsyncOperations": "Operations",
    "AsyncIterator": "Iterator",
    "AsyncIterable": "Iterable",
    "AsyncGenerator": "Generator",
}


def generate_stubs(into: Path) -> None:
    """Write the Python modules and type stubs of every proto file below `into`."""
    protos = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    arguments = [
        "protoc",
        f"--proto_path={PROTO}",
        f"--proto_path={well_known}",
        f"--python_out={into}",
        f"--mypy_out=quiet:{into}",
        f"--grpc_python_out={into}",
        f"--mypy_grpc_out=quiet:{into}",
        *protos,
    ]
    if protoc.main(arguments) != 0:
        sys.exit("protoc failed; its message is above")
    (into / "scorestream" / "v1" / "__init__.py").write_text('"""Generated wire stubs of `proto/`."""\n')


def generate_blocking_client(into: Path) -> None:
    """Write the blocking twin of every module in `aio/` into the folder `into`."""
    sources = [path for path in sorted((CLIENT / "aio").glob("*.py")) if path.name != "__init__.py"]
    rule = unasync.Rule(str(CLIENT / "aio"), str(into), additional_replacements=RENAMED)
    unasync.unasync_files([str(path) for path in sources], rules=[rule])
    for path in sources:
        twin = into / path.name
        twin.write_text(BANNER.format(name=path.name) + twin.read_text())
    ruff = [sys.executable, "-m", "ruff"]
    config = ["--quiet", "--config", str(ROOT / "pyproject.toml")]
    subprocess.run(
        [*ruff, "check", "--select", "C416,I,UP028", "--fix", "--unsafe-fixes", *config, str(into)],
        check=True,
    )
    subprocess.run([*ruff, "format", *config, str(into)], check=True)


def stale(made: Path, committed: Path) -> list[str]:
    """Return what differs between the files just made and those committed, a line each."""
    names = sorted(path.name for path in made.iterdir() if path.is_file())
    _, different, missing = filecmp.cmpfiles(made, committed, names, shallow=False)
    return [f"{committed.relative_to(ROOT) / name} does not match its source" for name in different + missing]


def main() -> None:
    """Generate, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if something is stale")
    check = parser.parse_args().check
    # protoc finds its plugins, which are installed beside this interpreter, on the PATH.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with tempfile.TemporaryDirectory() as scratch:
        stubs, client = Path(scratch, "stubs"), Path(scratch, "client")
        stubs.mkdir()
        client.mkdir()
        generate_stubs(stubs)
        generate_blocking_client(client)
        made = [(stubs / "scorestream" / "v1", CLIENT / "v1"), (client, CLIENT)]
        if check:
            faults = [fault for new, old in made for fault in stale(new, old)]
            sys.exit("\n".join([*faults, "run tools/generate.py"]) if faults else 0)
        for new, old in made:
            old.mkdir(exist_ok=True)
            for path in new.iterdir():
                shutil.copyfile(path, old / path.name)


if __name__ == "__main__":
    main()
