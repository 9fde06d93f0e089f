"""Any message to any RPC: an answer in time that explains itself, and a server that goes on."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import pyarrow as pa

import scorestream
from fuzz.conftest import Victim
from fuzz.figures import Figures, Plan, resident_mib, sizes
from fuzz.grounds import blobs, rows, texts
from fuzz.messages import Pool
from fuzz.traffic import Traffic
from served import raw_channel

AT_ONCE = 8
MOST_SESSIONS = 30
GROWTH = 1.25
"""What the server may grow by: sessions, jobs and models that are made stay on record."""


class Gardener:
    """Keeps a few good sessions, tables, models and jobs on a server for requests to name, and ends what piles up."""

    def __init__(self, victim: Victim, pool: Pool) -> None:
        self._client = victim.client
        self._pool = pool
        self._rows = rows()

    def tend(self) -> None:
        """Sow and weed."""
        open_sessions = self._client.sessions()
        for session in open_sessions[: max(0, len(open_sessions) - MOST_SESSIONS)]:
            session.terminate(cancel=True)
        try:
            self._sow()
        except (scorestream.NotFoundError, scorestream.FailedPreconditionError):
            return  # somebody ended the session, or removed the model, meanwhile

    def _sow(self) -> None:
        code = self._client.register_model("code", source="x * 2 AS doubled")
        session = self._client.create_session("fuzz")
        self._note("session", f"sessions/{session.id}")
        table = session.load_table(self._rows, name="rows")
        self._note("table", f"sessions/{session.id}/tables/rows")
        self._note("model", f"models/{code.id.replace('@', '/versions/')}")
        code.set_alias("champion")
        self._note("model", "models/code/aliases/champion")
        job = session.score(code, table, keep=["i"], partition_rows=50)
        self._note("job", f"jobs/{job.id}")
        self._note("context", "contexts/default")

    def _note(self, kind: str, name: str) -> None:
        known = self._pool.texts[kind]
        known.insert(0, name)
        del known[50:]


@sizes(short=700, long=70_000, share=0.35)
def test_no_message_harms_the_server(victim: Victim, plan: Plan, figures: Callable[[object], None]) -> None:
    """Never INTERNAL or UNKNOWN, never a hang, nothing read or written outside the data root; clients go on."""
    counted = Figures("requests of every RPC", plan)
    pool = Pool(blobs=blobs())
    pool.texts.update(texts(victim.ground))
    gardener = Gardener(victim, pool)
    for _ in range(3):
        gardener.tend()
    warm, tended = 0.0, 0
    with raw_channel(victim.client) as channel, ThreadPoolExecutor(AT_ONCE) as threads:
        traffic = Traffic(channel, pool, counted)
        sending = [threads.submit(traffic.send_all) for _ in range(AT_ONCE)]
        while wait(sending, timeout=0.5).not_done:
            if counted.cases >= tended + 200:
                gardener.tend()
                tended = counted.cases
            if not warm and counted.cases >= plan.cases // 5:
                warm = resident_mib(victim.process)
        for thread in sending:
            thread.result()
    assert not traffic.broken, "\n\n".join(traffic.broken.values())
    end = resident_mib(victim.process)
    counted.memory.append(f"server {warm:,.0f} MiB after a fifth, {end:,.0f} MiB at the end")
    figures(counted)
    counted.enough()
    assert victim.ground.untouched()
    assert counted.codes["OK"] > plan.cases // 10, "the requests are too wild to reach anything"
    assert end < warm * GROWTH or plan.cases < 10_000, "the server grows"
    goes_on(victim)


def goes_on(victim: Victim) -> None:
    """Check that a well-behaved client is served as ever."""
    session = victim.client.create_session("after")
    model = victim.client.register_model("after", source="x + 1 AS more")
    table = session.load_table(rows(), name="rows")
    found = pa.Table.from_batches(session.score(model, table, keep=["i"]).results())
    assert found.num_rows == table.info.rows
    assert found["more"].null_count < found.num_rows
