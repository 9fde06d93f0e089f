"""Any bytes as a table, uploaded or in a file: its rows can be read, or it is refused, then or by the job."""

from collections.abc import Callable

from fuzz.conftest import Victim
from fuzz.damage import damaged
from fuzz.figures import Figures, Plan, chance, sizes
from fuzz.grounds import rows, upload_messages
from fuzz.hostile import Case, try_all
from fuzz.test_requests import goes_on

WHERE = ("", "x > 0", "s = 'a' OR i IS NULL", "NOT f")
KEPT = ("i", "s", "f", "y")
CODE = b"x * 2 + f0 AS doubled, UPPER(s) AS t"


@sizes(short=120, long=3_000, share=0.15)
def test_a_damaged_upload_is_refused_or_scored(
    victim: Victim, plan: Plan, figures: Callable[[object], None]
) -> None:
    """Arrow messages with any fault: nothing that was taken can harm whoever reads it."""
    counted = Figures("uploads", plan)
    schema, batches = upload_messages(rows())
    victim.client.register_model("code", source=CODE.decode())

    def attempt(case: Case) -> str:
        door, source = case.door, case.source
        sent = [damaged(batch, source) if chance(source, 0.5) else batch for batch in batches]
        made = door.upload("rows", damaged(schema, source) if chance(source, 0.3) else schema, sent)
        if made.code != "OK":
            return made.code
        assert door.head("rows").code == "OK"
        return door.score("code", "rows", source.choice(WHERE), KEPT)

    try_all(victim, counted, attempt)
    figures(counted)
    counted.enough()
    assert set(counted.codes) >= {"OK", "INVALID_ARGUMENT"}
    goes_on(victim)


@sizes(short=60, long=2_000, share=0.15)
def test_a_damaged_file_is_refused_or_scored(
    victim: Victim, plan: Plan, figures: Callable[[object], None]
) -> None:
    """Parquet, Arrow and CSV files with any fault, loaded, looked at and scored."""
    counted = Figures("table files", plan)
    files = {path: path.read_bytes() for path in victim.ground.files}
    victim.client.register_model("code", source=CODE.decode())

    def attempt(case: Case) -> str:
        door, source = case.door, case.source
        origin = source.choice(sorted(files))
        path = victim.ground.root / f"case{case.number}{origin.suffix}"
        path.write_bytes(damaged(files[origin], source))
        try:
            made = door.load("rows", path)
            if made.code != "OK":
                return made.code
            looked = door.head("rows")
            code = door.score("code", "rows", source.choice(WHERE), KEPT)
        finally:
            path.unlink()
        return looked.code if looked.code != "OK" else code

    try_all(victim, counted, attempt)
    figures(counted)
    counted.enough()
    assert set(counted.codes) >= {"OK", "INVALID_ARGUMENT"}
    goes_on(victim)
