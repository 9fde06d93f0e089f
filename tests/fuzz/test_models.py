"""Any file as a model: it can be scored, or is refused; what its parser does is no outage."""

from collections.abc import Callable

from fuzz.conftest import Victim
from fuzz.damage import damaged
from fuzz.figures import Figures, Plan, chance, sizes
from fuzz.grounds import models, rows, upload_messages
from fuzz.hostile import Case, try_all
from fuzz.test_requests import goes_on


@sizes(short=150, long=3_000, share=0.2)
def test_a_damaged_model_is_refused_or_scored(
    victim: Victim, plan: Plan, figures: Callable[[object], None]
) -> None:
    """INVALID_ARGUMENT or RESOURCE_EXHAUSTED, at registration or of the job; the next model is taken as ever."""
    counted = Figures("model files", plan)
    files = models()
    schema, batches = upload_messages(rows())

    def attempt(case: Case) -> str:
        door, source, name = case.door, case.source, f"m{case.number}"
        file = source.choice(sorted(files))
        content = damaged(files[file], source)
        made = door.register(name, source.choice((file, file, "model")), content)
        if made.code != "OK":
            return made.code
        try:
            if chance(source, 0.3):
                assert door.upload("rows", schema, batches).code == "OK"
                return door.score(name, "rows", "")
        finally:
            door.remove(name)
        return "OK"

    try_all(victim, counted, attempt)
    figures(counted)
    counted.enough()
    assert set(counted.codes) >= {"OK", "INVALID_ARGUMENT"}
    goes_on(victim)
