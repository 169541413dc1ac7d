"""The journal keeps what it acknowledges, once, in order, and says when it cannot."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from serving.journal import Counts, DecisionRow, EventRow, Journal, JournalError, Kept, LateError, RequestRow
from serving.journal_rows import ContactRow, Work
from serving.snapshot import Contact
from serving.tickets import Ticket
from serving.writer import Writer

ROOT = Path(__file__).parents[2]
DAY = 24 * 3600 * 1_000_000


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db")
    yield journal
    journal.close()


def event(name: str, member: str = "m1", payload: bytes = b"{}") -> EventRow:
    return EventRow(name, member, 1_000, payload)


def decision(name: str, at: int = 1_000, **more: object) -> DecisionRow:
    return DecisionRow(name, "m1", "offer", at, b"payload of " + name.encode(), **more)  # type: ignore[arg-type]


def test_an_event_sent_twice_is_kept_once_and_the_first_one_stays(journal: Journal) -> None:
    first = journal.append_events([event("e1", payload=b"first"), event("e1", payload=b"inside"), event("e2")])
    again = journal.append_events([event("e1", payload=b"later"), event("e3")])
    assert (first.accepted, first.duplicates) == (2, 1)
    assert (again.accepted, again.duplicates) == (1, 1)
    rows = journal.read_events()
    assert [(row.event_id, row.payload) for row in rows] == [("e1", b"first"), ("e2", b"{}"), ("e3", b"{}")]
    assert [row.seq for row in rows] == sorted(row.seq for row in rows)


def test_two_batches_in_one_commit_count_their_shared_event_once(journal: Journal) -> None:
    tickets = [journal.submit_events([event("same"), event(f"own-{k}")]) for k in range(20)]
    counts = [cast(Counts, ticket.wait(5)) for ticket in tickets]
    assert sum(count.accepted for count in counts) == 21
    assert sum(count.duplicates for count in counts) == 19


def test_events_of_some_members_are_found_after_a_position(journal: Journal) -> None:
    journal.append_events([event("a", "m1"), event("b", "m2"), event("c", "m3"), event("d", "m1")])
    assert [row.event_id for row in journal.events_of(["m1", "m3"], after_seq=1)] == ["c", "d"]
    assert journal.last_seq() == 4


def test_events_and_decisions_share_one_order(journal: Journal) -> None:
    journal.append_events([event("a")])
    journal.append_decisions([decision("d1"), decision("d2")])
    journal.append_events([event("b")])
    order = [(row.seq, row.event_id) for row in journal.read_events()]
    order += [(row.seq, row.decision_id) for row in journal.read_decisions()]
    assert sorted(order) == [(1, "a"), (2, "d1"), (3, "d2"), (4, "b")]
    assert [row.event_id for row in journal.read_events(after_seq=3)] == ["b"]
    assert journal.last_seq() == 4


def test_the_last_word_on_consent_counts(journal: Journal) -> None:
    journal.append_events([EventRow("a", "m1", 1, b"{}", {"email": False, "sms": False})])
    journal.append_events([EventRow("b", "m1", 2, b"{}", {"email": True})])
    assert journal.memory("m1", 0).consents == {"email": True, "sms": False}
    assert journal.memory("m2", 0).consents == {}


def test_the_second_decision_of_a_period_gets_the_first(journal: Journal) -> None:
    assert journal.append_decisions([decision("d1", period_key="p")]) == (Kept("stored", "d1"),)
    assert journal.append_decisions([decision("d2", period_key="p")]) == (Kept("repeat", "d1"),)
    assert journal.append_decisions([decision("d3", period_key="q"), decision("d4", period_key="q")]) == (
        Kept("stored", "d3"),
        Kept("repeat", "d3"),
    )
    found = journal.find_period("p")
    assert found is not None
    assert found.decision_id == "d1"
    assert journal.find_decision("d2") is None


def test_a_superseded_decision_stays_but_its_period_goes_to_the_new_one(journal: Journal) -> None:
    journal.append_decisions([decision("old", period_key="p")])
    assert journal.append_decisions([decision("new", period_key="p", supersedes="old")]) == (Kept("stored", "new"),)
    assert journal.append_decisions([decision("later", period_key="p", supersedes="old")]) == (Kept("repeat", "new"),)
    found = journal.find_period("p")
    assert found is not None
    assert found.decision_id == "new"
    assert journal.find_decision("old") is not None


def test_a_request_keeps_its_answer_for_a_day_and_refuses_another_body(journal: Journal) -> None:
    first = decision("d1", at=0, request_id="r", body_hash=b"one")
    assert journal.append_decisions([first]) == (Kept("stored", "d1"),)
    same = decision("d2", at=DAY, request_id="r", body_hash=b"one")
    other = decision("d3", at=DAY, request_id="r", body_hash=b"two")
    assert journal.append_decisions([same, other]) == (Kept("repeat", "d1"), Kept("conflict", "d1"))
    assert journal.find_request("r", DAY) == (b"one", "d1")
    assert journal.find_request("r", DAY + 1) is None
    late = decision("d4", at=DAY + 1, request_id="r", body_hash=b"two")
    assert journal.append_decisions([late]) == (Kept("stored", "d4"),)


def test_a_refused_request_takes_no_period_away(journal: Journal) -> None:
    journal.append_decisions([decision("d1", period_key="p", request_id="r", body_hash=b"one")])
    refused = decision("d2", period_key="p", supersedes="d1", request_id="r", body_hash=b"two")
    assert journal.append_decisions([refused]) == (Kept("conflict", "d1"),)
    found = journal.find_period("p")
    assert found is not None
    assert found.decision_id == "d1"


def test_a_repeat_binds_its_request_to_the_decision_that_stands(journal: Journal) -> None:
    journal.append_decisions([decision("d1", period_key="p")])
    assert journal.submit_request(RequestRow("r", b"h", "d1", 5)).wait(5) == Kept("stored", "d1")
    assert journal.submit_request(RequestRow("r", b"other", "d9", 5)).wait(5) == Kept("conflict", "d1")
    assert journal.find_request("r", 6) == (b"h", "d1")


def test_contacts_and_first_exposures_are_written_with_the_decision(journal: Journal) -> None:
    contact = ContactRow("off_1", "gift", "offer", "email")
    journal.append_decisions([decision("d1", 2_000_000, contacts=(contact,), exposures={"x": "blue"})])
    journal.append_decisions([decision("d2", 3_000_000, contacts=(contact,), exposures={"x": "red"})])
    assert journal.memory("m1", 2_500_000).contacts == (Contact(3.0, "off_1", "gift", "offer", "email"),)
    assert len(journal.memory("m1", 0).contacts) == 2
    assert journal.memory("m1", 0).exposures == {"x": "blue"}


def test_a_journal_held_up_is_late_and_claims_nothing_that_was_not_given(journal: Journal, tmp_path: Path) -> None:
    holder = os.open(tmp_path / "journal.db.lock", os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        contact = ContactRow("off_1", "gift", "offer", "app")
        begun = journal.submit_decisions([decision("begun", period_key="p", request_id="r", contacts=(contact,))], loop)
        await asyncio.sleep(0.02)
        waiting = journal.submit_decisions([decision("waiting", period_key="q")], loop)
        began = loop.time()
        for ticket in (begun, waiting):
            with pytest.raises(LateError):
                await ticket.within(0.02)
        assert loop.time() - began < 0.5
        fcntl.flock(holder, fcntl.LOCK_UN)
        assert (await asyncio.to_thread(journal.append_decisions, [decision("next")]))[0].how == "stored"
        await asyncio.sleep(0.05)
        assert (await asyncio.to_thread(journal.append_decisions, [decision("last")]))[0].how == "stored"

    asyncio.run(ask())
    os.close(holder)
    assert journal.find_decision("begun") is None
    assert journal.find_period("p") is None
    assert journal.find_request("r", 1_000) is None
    assert journal.memory("m1", 0).contacts == ()
    assert journal.find_decision("waiting") is None


class GivenUpMeanwhile(Ticket):
    """A decision whose caller gives up at the moment at which it is being written."""

    __slots__ = ("_work",)

    @property
    def work(self) -> Work:
        self.abandoned = True
        return self._work

    @work.setter
    def work(self, value: Work) -> None:
        self._work = value


def test_a_decision_given_up_while_it_was_written_is_taken_back_before_the_next_is_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    contact = ContactRow("off_1", "gift", "offer", "app")
    row = decision("begun", period_key="p", request_id="r", contacts=(contact,))
    writer = Writer(tmp_path / "journal.db")
    begun = GivenUpMeanwhile((row,), durable=False)
    writer.put(begun)
    begun.wait(5)
    again = Ticket((decision("again", period_key="p", request_id="r"),), durable=False)
    writer.put(again)
    assert again.wait(5) == (Kept("stored", "again"),)
    writer.close()
    assert {row.decision_id for row in journal.decisions_of("m1") if row.learnable} == {"again"}
    assert journal.memory("m1", 0).contacts == ()
    assert journal.find_request("r", 1_000) == (b"", "again")
    journal.close()


def test_a_file_that_is_no_journal_is_named_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(JournalError, match=r"journal\.db: .*restore it from a backup"):
        Journal(path)


def test_a_closed_journal_refuses_and_has_kept_what_it_took(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    tickets = [journal.submit_events([event(f"e{k}")]) for k in range(50)]
    journal.close()
    assert all(ticket.settled and ticket.error is None for ticket in tickets)
    with pytest.raises(JournalError, match="closed"):
        journal.append_events([event("late")])
    again = Journal(tmp_path / "journal.db")
    assert again.last_seq() == 50
    again.close()


def test_a_full_disk_refuses_loses_nothing_acknowledged_and_heals(tmp_path: Path) -> None:
    script = """
        import resource, sys
        from pathlib import Path
        from serving.journal import EventRow, Journal, JournalError
        path = Path(sys.argv[1])
        journal = Journal(path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        kept, refused = [], 0
        for number in range(1000):
            try:
                journal.append_events([EventRow(f"e{number}", "m", number, b"x" * 3000)])
                kept.append(f"e{number}")
            except JournalError as error:
                assert "disk full" in str(error), error
                assert "could not write" in journal.trouble and journal.healthy
                refused += 1
                if refused == 3:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            if refused == 3 and len(kept) > 150:
                break
        assert [row.event_id for row in journal.read_events(limit=5000)] == kept
        assert journal.trouble is None
        journal.close()
        print(refused)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "journal.db")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stderr


def test_four_processes_share_the_journal_and_none_starves(tmp_path: Path) -> None:
    script = """
        import sys, time
        from pathlib import Path
        from serving.journal import EventRow, Journal
        journal, name = Journal(Path(sys.argv[1])), sys.argv[2]
        sys.stdin.readline()
        end, number = time.monotonic() + 1.0, 0
        while time.monotonic() < end:
            journal.append_events([EventRow(f"{name}-{number}", name, number, b"x" * 200)])
            number += 1
        journal.close()
        print(number)
    """
    path = tmp_path / "journal.db"
    commands = [[sys.executable, "-c", textwrap.dedent(script), str(path), f"w{k}"] for k in range(4)]
    writers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for command in commands
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    counts = [int(writer.communicate(timeout=30)[0]) for writer in writers]
    journal = Journal(path)
    assert journal.last_seq() == len(journal.read_events(limit=1_000_000)) == sum(counts)
    journal.close()
    assert min(counts) > max(counts) / 4
