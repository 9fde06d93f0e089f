"""When a worker is given up: never one that works, always one that does not, within a bound."""

from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.workers.vigil import SILENT_TICKS, Patience, Vigil

PATIENCE = Patience.of(600)


def test_patience_has_ticks_of_at_most_five_seconds() -> None:
    assert (PATIENCE.tick, PATIENCE.stall_seconds, PATIENCE.silent_seconds) == (5.0, 600.0, 30.0)
    assert (Patience.of(4).tick, Patience.of(4).stall_ticks) == (0.4, 10)


def test_a_worker_that_neither_answers_nor_computes_is_stopped_in_half_a_minute() -> None:
    vigil = Vigil()
    vigil.answered({7: 1})
    found = [vigil.tick(10.0, PATIENCE) for _ in range(SILENT_TICKS + 2)]
    first = next(finding for finding in found if finding is not None)
    assert first.what_it_did == "neither answered nor computed for 30 seconds"
    assert first.tasks == ()


def test_a_worker_that_starts_may_compile_for_hours_but_not_stand_still() -> None:
    """However little patience there is with tasks."""
    starting = Patience.of(4).with_a_start()
    vigil = Vigil()
    assert all(vigil.tick(float(tick), starting) is None for tick in range(1, 10_000))
    found = [vigil.tick(1e6, starting) for _ in range(77)]
    assert [finding is not None for finding in found].index(True) == 75
    assert starting.silent_seconds == 30.0


def test_a_worker_that_computes_without_an_answer_has_as_long_as_a_task() -> None:
    """A call that keeps the interpreter to itself; if only one task was begun, it is that one's."""
    for steps, blamed in (({7: 1}, (7,)), ({7: 1, 8: 1}, ())):
        vigil = Vigil()
        vigil.answered(steps)
        found = [vigil.tick(float(tick), PATIENCE) for tick in range(1, PATIENCE.stall_ticks + 1)]
        assert found == [None] * PATIENCE.stall_ticks
        last = vigil.tick(1e6, PATIENCE)
        assert last is not None
        assert last.tasks == blamed


def test_a_task_that_takes_no_step_is_given_up_while_others_work() -> None:
    vigil = Vigil()
    findings = []
    for tick in range(1, PATIENCE.stall_ticks + 2):
        vigil.answered({7: 3, 8: tick})
        findings.append(vigil.tick(float(tick), PATIENCE))
    assert findings[:-1] == [None] * PATIENCE.stall_ticks
    assert findings[-1] is not None
    assert findings[-1].tasks == (7,)


@given(st.lists(st.tuples(st.integers(0, 100), st.floats(0, 10)), max_size=400))
def test_a_worker_that_answers_and_whose_tasks_move_is_never_stopped(
    ticks: list[tuple[int, float]],
) -> None:
    """However its tasks come and go, and however little it computes."""
    vigil = Vigil()
    computed = 0.0
    for number, (task, seconds) in enumerate(ticks):
        vigil.answered({task: number})
        computed += seconds
        assert vigil.tick(computed, PATIENCE) is None


@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_one_that_is_busy_now_and_then_is_not_taken_for_stopped(busy: list[bool]) -> None:
    """Silence alone is no reason before a task's time is up: a parser may hold the interpreter."""
    vigil = Vigil()
    computed, idle = 1.0, 0
    for at, works in enumerate(busy):
        computed += 1.0 if works else 0.0
        idle = 0 if works else idle + 1
        finding = vigil.tick(computed, PATIENCE)
        if finding is not None:
            assert idle >= SILENT_TICKS or at >= PATIENCE.stall_ticks
            return
