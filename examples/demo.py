"""What `make demo` shows: a night's scoring in three sessions, then a credit model over real customers.

The first part is the script of a nightly batch: one session for each customer segment, an asynchronous
job in each, all of them followed from another session. The second scores the 30,000 customers of
`uci_credit_card.csv` with the XGBoost model `credit_model.ubj`, and shows rows before the job is done.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

import scorestream
from scorestream.progress import event_line, rate_text, seconds_text, status_table

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "demo-output"
SEED = 456
SEGMENTS = (1, 2, 3)
CUSTOMERS_PER_SEGMENT = 200_000
PREFIX = "ScoringJob_"
DUMMY_SCORER = "var1 * 0.5 + var2 * 0.2 + var3 * 0.3 AS p_var1"
PLAIN_TABLE: dict[str, Any] = {
    "box": box.SIMPLE_HEAD,
    "show_edge": False,
    "pad_edge": False,
    "padding": (0, 1, 0, 0),
}
# The server would score so few rows in one piece; in pieces of this size the first can be seen while others run.
PARTITION_ROWS = 5_000
REFRESH_SECONDS = 0.05
PLAIN_WIDTH = 200


@dataclass(frozen=True)
class Scored:
    """A line of the summary: what was scored, how many rows in what time, and the file that holds it."""

    what: str
    rows_read: int
    rows_scored: int
    seconds: float
    file: Path


def main() -> None:
    """Run both parts against a private server and say what came out."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH)
    OUTPUT.mkdir(exist_ok=True)
    began = time.monotonic()
    console.rule("Starting a server")
    with scorestream.local() as client:
        console.print(
            f"It listens on {client.address}, ready after {seconds_text(time.monotonic() - began)}."
        )
        console.rule("1. A night's scoring: three segments, three sessions, three jobs at once")
        scored = score_segments(client, console)
        console.rule("2. Credit-card customers: will they default next month?")
        scored.append(score_credit_cards(client, console))
    console.rule("Done")
    print_summary(scored, console)
    console.print(f"All of it took {seconds_text(time.monotonic() - began)}, the server's start included.")


def generate_customers(file: Path) -> pa.Table:
    """Write 600,000 customers, 200,000 a segment, to an Arrow file and return them."""
    rows = len(SEGMENTS) * CUSTOMERS_PER_SEGMENT
    random = np.random.default_rng(SEED)
    table = pa.table(
        {
            "segment_id": np.repeat(np.array(SEGMENTS, np.int64), CUSTOMERS_PER_SEGMENT),
            "customer_id": np.tile(np.arange(1, CUSTOMERS_PER_SEGMENT + 1), len(SEGMENTS)),
            "var1": random.uniform(size=rows),
            "var2": random.normal(size=rows),
            "var3": random.binomial(10, 0.5, size=rows).astype(np.float64),
        }
    )
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=65_536)
    return table


def score_segments(client: scorestream.Client, console: Console) -> list[Scored]:
    """Start a job for each segment, follow all from another session, collect the results, clean up."""
    file = OUTPUT / "customer_segments.arrow"
    customers = generate_customers(file)
    console.print(f"{customers.num_rows:,} customers are in {shown_path(file)}")
    model = client.register_model("dummy_scorer", source=DUMMY_SCORER)
    sessions = [client.create_session(f"{PREFIX}Seg{segment}") for segment in SEGMENTS]
    tables = [session.load_table(file, name="customer_segments") for session in sessions]
    jobs = [
        session.score(
            model,
            table,
            where=f"segment_id = {segment}",
            keep=["customer_id"],
            out=f"scored_seg{segment}",
            replace=True,
            name=f"job_seg{segment}",
        )
        for segment, session, table in zip(SEGMENTS, sessions, tables, strict=True)
    ]
    with scorestream.connect(client.address, token=client.token) as master, master.create_session("Master"):
        console.print("All three jobs, from a fourth session:")
        follow(master, console)
        console.print("And session by session, as a script that looks at each would see them:")
        for found in master.sessions(PREFIX):
            console.print(f"--- Status of session {found.name} ({found.id}) ---")
            console.print(status_table(found.action_status(), width_of(console)))
    scored = []
    for segment, job in zip(SEGMENTS, client.wait_all(jobs), strict=True):
        result = job.to_table()
        check_segment(customers, segment, result)
        scored_file = OUTPUT / f"scored_seg{segment}.parquet"
        pq.write_table(result, scored_file)
        scored.append(scored_line(f"segment {segment}", job, scored_file))
    console.print("The scores are the same as NumPy's.")
    for session in client.sessions(PREFIX):
        console.print(f"Session {session.name} {session.terminate().state.lower()}.")
    return scored


def follow(client: scorestream.Client, console: Console) -> None:
    """Show one table for all scoring sessions until every job is final; plain lines off a terminal."""
    events = client.watch(prefix=PREFIX, until_final=True)
    if not console.is_terminal:
        told: dict[str, tuple[object, int]] = {}
        for event in events:
            news = (event.state, int(event.percent // 25))
            if event.job and told.get(event.job) != news:
                told[event.job] = news
                console.print(event_line(event), markup=False)
        return
    with Live(console=console, auto_refresh=False) as live:

        def show() -> None:
            live.update(status_table(client.status(prefix=PREFIX), console.width), refresh=True)

        shown = 0.0
        for _ in events:
            if time.monotonic() - shown >= REFRESH_SECONDS:
                show()
                shown = time.monotonic()
        show()


def check_segment(customers: pa.Table, segment: int, result: pa.Table) -> None:
    """Compare a segment's scores with the same sum in NumPy."""
    rows = slice((segment - 1) * CUSTOMERS_PER_SEGMENT, segment * CUSTOMERS_PER_SEGMENT)
    var1, var2, var3 = (customers[name].to_numpy()[rows] for name in ("var1", "var2", "var3"))
    if not np.allclose(result["p_var1"].to_numpy(), var1 * 0.5 + var2 * 0.2 + var3 * 0.3, rtol=1e-12):
        sys.exit(f"The scores of segment {segment} differ from NumPy's.")


def score_credit_cards(client: scorestream.Client, console: Console) -> Scored:
    """Score the customers of the credit-card file, and show rows as they come, while the job runs."""
    model = client.register_model("credit", path=HERE / "credit_model.ubj")
    console.print(f"Model {model.id}: {model.info.description}")
    file = OUTPUT / "credit_scores.parquet"
    with client.create_session("Credit") as session:
        table = session.load_table(HERE / "uci_credit_card.csv", name="customers")
        began = time.monotonic()
        job = session.score(
            model,
            table,
            keep=["ID"],
            out_path=file,
            replace=True,
            name="credit_scores",
            partition_rows=PARTITION_ROWS,
        )
        rows = 0
        for batch in job.results():
            seconds = time.monotonic() - began
            state = job.refresh().state
            rows += batch.num_rows
            console.print(
                f"{rows:>6,} of {table.rows:,} rows are here after {seconds_text(seconds)}; the job is {state}"
            )
            if rows == batch.num_rows:
                console.print("The first five of them:")
                console.print(rows_table(pa.Table.from_batches([batch.slice(0, 5)])))
        job.wait()
    scores = pq.read_table(file)["score"].to_numpy()
    defaulted = csv.read_csv(HERE / "uci_credit_card.csv")["default.payment.next.month"].to_numpy()
    highest = np.argsort(-scores)[: len(scores) // 10]
    console.print(
        f"{np.mean(defaulted):.1%} of the customers defaulted; the model expected {np.mean(scores):.1%}. "
        f"Of the tenth with the highest scores, {np.mean(defaulted[highest]):.1%} did "
        "(it learned from four fifths of these customers, so this flatters it)."
    )
    return scored_line("credit cards", job, file)


def scored_line(what: str, job: scorestream.Job, file: Path) -> Scored:
    """Return a job's line of the summary; its time runs from its creation to its published output."""
    info = job.refresh().info
    seconds = (info.ended - info.created).total_seconds() if info.ended else 0.0
    return Scored(what, info.rows_total, info.rows_scored, seconds, file)


def rows_table(rows: pa.Table) -> Table:
    """Return rows to print."""
    table = Table(**PLAIN_TABLE)
    for name in rows.column_names:
        table.add_column(name, justify="right")
    for row in rows.to_pylist():
        table.add_row(*(f"{value:.6f}" if isinstance(value, float) else str(value) for value in row.values()))
    return table


def print_summary(scored: list[Scored], console: Console) -> None:
    """Print what was scored, how fast, and where it is."""
    table = Table(**PLAIN_TABLE)
    table.add_column("what")
    for name in ("rows read", "rows scored", "time", "read/s"):
        table.add_column(name, justify="right")
    table.add_column("file")
    for line in scored:
        rate = line.rows_read / line.seconds if line.seconds else 0.0
        table.add_row(
            line.what,
            f"{line.rows_read:,}",
            f"{line.rows_scored:,}",
            seconds_text(line.seconds),
            rate_text(rate),
            line.file.name,
        )
    console.print(table)
    console.print(f"The files are in {shown_path(OUTPUT)}", soft_wrap=True)


def shown_path(path: Path) -> Path:
    """Return a path as short as it can be written from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def width_of(console: Console) -> int | None:
    """Return how wide a table may be; a file or a pipe sets no limit."""
    return console.width if console.is_terminal else None


if __name__ == "__main__":
    main()
