"""The checks of ledgers find what is wrong in histories made by hand, and nothing in good ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.ledgers import History, Note, Place, Reader, Writer

WRITTEN = [Place("bets", 0, offset) for offset in range(3)]
ALL = {("bets", 0): 3}


def turn(
    start: float, end: float | None, offset: int, *, member: str = "one:1", key: str = "ada"
) -> list[Note]:
    notes = [Note(start, "start", member, "bets", 0, offset, key, offset)]
    return notes if end is None else [*notes, Note(end, "ok", member, "bets", 0, offset, key, offset)]


def history(*turns: list[Note], **ended: float) -> History:
    notes = sorted(note for each in turns for note in each)
    return History(notes, {"one:1": ended["one"]} if ended else None)


def test_a_good_history_passes_every_check() -> None:
    good = history(turn(0, 1, 0), turn(1, 2, 1), turn(2, 3, 2))

    assert good.unhandled(WRITTEN) == []
    assert good.repeated() == {}
    assert good.repeats() == {}
    assert good.unsafe(ALL, WRITTEN) == []
    assert good.spans({("bets", 0): 1}) == {("bets", 0): 2}
    assert good.out_of_order() == []
    assert good.overlaps() == []


def test_a_record_that_was_begun_and_never_finished_is_lost_and_no_commit_may_pass_it() -> None:
    lossy = history(turn(0, 1, 0), turn(1, None, 1, key="bob"), turn(1, 2, 2))

    assert lossy.unhandled(WRITTEN) == [Place("bets", 0, 1)]
    assert lossy.unsafe(ALL, WRITTEN) == [Place("bets", 0, 1)]
    assert lossy.unsafe({("bets", 0): 1}, WRITTEN) == []


def test_repeats_are_counted_for_the_member_that_repeats() -> None:
    crashed = history(
        turn(0, 1, 0), turn(1, None, 1), turn(5, 6, 0, member="two:2"), turn(6, 7, 1, member="two:2"), one=2
    )

    assert crashed.repeated() == {Place("bets", 0, 0): 1}
    assert crashed.repeats() == {("two:2", "bets", 0): 1}
    assert crashed.overlaps() == [], "what a killed member had begun ended when it was killed"


def test_a_key_out_of_order_is_found_and_a_repeat_is_not_taken_for_it() -> None:
    assert len(history(turn(0, 1, 1), turn(1, 2, 0)).out_of_order()) == 1
    assert history(turn(0, 1, 0), turn(1, 2, 1), turn(5, 6, 0, member="two:2")).out_of_order() == []
    assert history(turn(0, 1, 1, key="ada"), turn(1, 2, 0, key="bob")).out_of_order() == []


def test_two_at_once_of_one_key_are_found_whoever_handles_them() -> None:
    assert len(history(turn(0, 2, 0), turn(1, 3, 1, member="two:2")).overlaps()) == 1
    assert len(history(turn(0, None, 0), turn(9, 10, 1)).overlaps()) == 1, "it never ended"
    assert history(turn(0, 2, 0), turn(1, 3, 1, key="bob")).overlaps() == []
    long = history(turn(0, 9, 0), turn(1, 2, 1, member="two:2"), turn(3, 4, 2, member="three:3"))
    assert len(long.overlaps()) == 2, "the first ends after both"
    assert len(long.overlaps(but=("two",))) == 1


def test_what_a_killed_process_noted_is_there_and_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    dies = "\n".join(
        (
            "import os, signal, sys",
            "from tests.support.ledgers import Writer",
            "Writer(sys.argv[1], 'dies').note('ok', topic='bets', partition=0, offset=7, key='ada', id=3)",
            "os.kill(os.getpid(), signal.SIGKILL)",
        )
    )
    subprocess.run([sys.executable, "-c", dies, path], cwd=Path(__file__).parents[2], check=False)
    reader = Reader(path)

    (note,) = reader.notes()
    assert (note.event, note.place, note.key, note.id) == ("ok", Place("bets", 0, 7), "ada", 3)
    Writer(path, "lives").note("stopping")
    assert [note.event for note in reader.notes()] == ["ok", "stopping"]
    assert reader.moment("stopping", "lives") == reader.notes()[1].at
    assert reader.moment("stopping", "dies") is None


def test_a_line_that_is_not_whole_yet_waits(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(b'[1.0,"ok","a:1"]\n[2.0,"o')
    reader = Reader(path)
    assert len(reader.notes()) == 1

    with path.open("ab") as file:
        file.write(b'k","a:1"]\n')
    assert [note.at for note in reader.notes()] == [1.0, 2.0]
