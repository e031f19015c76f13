"""``make compare`` without the systems that it compares: its options, what is absent, the judge on histories made by hand, the recipes' keeper, the tables."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from palclient.transport import monotonic
from tests.chaos.crew import Stuck
from tests.chaos.history import Line, Turn, turns
from tests.chaos.worker import Orders
from tests.compare import __main__ as command
from tests.compare import episodes, keeping, peer, servers, worker
from tests.compare.episodes import CLIENTS, Round
from tests.compare.judge import Outcome, count, first_seat, measure, most_too_many
from tests.compare.keeping import Keeper, patiently
from tests.compare.peer import PATIENCE_S, RACE, WIDE, Absent, Failed, NoSeat, Peer
from tests.compare.systems import SYSTEMS
from tests.compare.tables import figures, warm_row
from tests.compare.zookeeper import JARS, jars

SEATS = peer.POOLS[RACE]
SHORT_S = 0.6


# --- options, and what is absent ----------------------------------------------------------------------------------------------------


def test_rounds_episodes_and_systems_can_be_chosen_and_mistakes_are_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """What a run is asked for."""
    options = command.parsed(["--rounds", "3", "--kills", "7", "--freezes", "0", "--only", "palclient,etcd", "--json"])
    assert (options.rounds, options.kills, options.freezes, options.only, options.json) == (3, 7, 0, ["palclient", "etcd"], True)
    assert command.parsed([]).only == list(SYSTEMS) == ["palclient", "redis", "etcd", "zookeeper"]
    for wrong in (["--only", "consul"], ["--rounds", "0"], ["--kills", "-1"]):
        with pytest.raises(SystemExit) as ended:
            command.parsed(wrong)
        assert ended.value.code == 2
    assert "there is no 'consul'" in capsys.readouterr().err


@pytest.mark.parametrize("total, rounds", [(10, 5), (10, 3), (1, 5), (0, 2)])
def test_every_episode_is_played_in_one_of_the_rounds(total: int, rounds: int) -> None:
    """Spread evenly."""
    shares = [command.portion(total, number, rounds) for number in range(rounds)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


def test_what_is_absent_is_skipped_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours stays; each other says what is missing: a program, a package, or Java libraries."""
    monkeypatch.setenv("PATH", "")
    for variable in ("REDIS_SERVER", "REDIS_SENTINEL", "ETCD", "ZOOKEEPER_HOME", "JAVA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(servers, "import_module", _refuses)
    peers, skipped = command.present(list(SYSTEMS))
    assert [each.name for each in peers] == ["palclient"]
    assert skipped == {
        "redis": "no Python package redis",
        "etcd": "no etcd on the PATH, and ETCD is not set",
        "zookeeper": "no Python package kazoo",
    }


def _refuses(name: str) -> Any:
    raise ImportError(name)


def test_a_program_that_was_named_wrongly_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that names nothing is not passed over for what may be on the PATH."""
    monkeypatch.setenv("ETCD", "/nowhere/etcd")
    with pytest.raises(Absent, match=r"no program /nowhere/etcd \(ETCD\)"):
        servers.found("sh", "ETCD")


def test_the_java_libraries_that_a_server_loads_are_picked_from_a_folder_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two logging back ends one would win by chance."""
    names = ["zookeeper-3.8.0.jar", "zookeeper-jute-3.8.0.jar", "slf4j-api-1.7.32.jar", "slf4j-simple-1.7.32.jar", "zookeeper-it-3.8.0.jar"]
    (tmp_path / "lib").mkdir()
    for name in names:
        (tmp_path / "lib" / name).touch()
    monkeypatch.setenv("ZOOKEEPER_HOME", str(tmp_path))
    files, version = jars()
    assert ({Path(file).name for file in files}, version) == (set(names[:3]), "3.8.0")
    assert JARS.fullmatch("netty-transport-native-unix-common-4.1.48.Final.jar")
    monkeypatch.setenv("ZOOKEEPER_HOME", str(tmp_path / "no"))
    with pytest.raises(Absent, match="ZOOKEEPER_HOME"):
        jars()


@pytest.mark.parametrize("as_json", [True, False])
def test_a_run_of_nothing_shows_what_was_skipped_and_is_no_failure(
    *, as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0 with all peers absent."""
    monkeypatch.setenv("ETCD", "/nowhere/etcd")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert command.main(["--only", "etcd", "--rounds", "1", *(["--json"] if as_json else [])]) == 0
    said = capsys.readouterr().out
    skipped = json.loads(said)["skipped"]["etcd"] if as_json else next(line for line in said.splitlines() if "skipped" in line)
    assert "no program /nowhere/etcd (ETCD)" in skipped


# --- the judge ----------------------------------------------------------------------------------------------------------------------


def held(op: int, asked: float, granted: float, until: float, *, returned: float, pool: str = RACE) -> list[Line]:
    """A seat that was taken, believed held until an instant, and given back."""
    return [
        {"what": "asked", "op": op, "at": asked, "feature": pool, "timeout_s": PATIENCE_S, "wait_s": PATIENCE_S},
        {"what": "granted", "op": op, "at": granted, "id": f"{op}", "seq": 0, "count": 1, "until": until},
        {"what": "returning", "op": op, "at": returned},
        {"what": "returned", "op": op, "at": returned},
    ]


def failed(op: int, asked: float, at: float, *, pool: str = WIDE, is_denial: bool = False) -> list[Line]:
    """A call that brought no seat."""
    begun = held(op, asked, at, at, returned=at, pool=pool)[0]
    return [begun, {"what": "error", "op": op, "at": at, "kind": "Failed", "text": "Gone: no answer", "is_denial": is_denial}]


def of(*histories: list[Line]) -> list[Turn]:
    """One client's turns each."""
    return [turn for number, lines in enumerate(histories) for turn in turns(f"c{number}", lines, [], None)]


def counted(*lines: Line) -> Outcome:
    """What the judge counts of one client."""
    outcome = Outcome(system="x", kind="kill")
    count(outcome, of(list(lines)), lines)
    return outcome


def test_one_seat_too_many_is_an_over_issue_and_one_that_ran_out_is_not() -> None:
    """Belief ends with the lease, also when the seat is given back much later."""
    full = [held(1, 0, 1, 9, returned=8) for _ in range(SEATS)]
    assert most_too_many(of(*full)) == 0
    assert most_too_many(of(*full, held(1, 0, 4, 9, returned=5))) == 1
    assert most_too_many(of(*full, held(1, 0, 4, 9, returned=5), held(1, 0, 4.5, 9, returned=6))) == 2
    assert most_too_many(of(*full[1:], held(1, 0, 1, 3, returned=8), held(1, 0, 4, 9, returned=5))) == 0


def test_a_seat_without_end_is_held_until_its_client_learns_that_it_is_lost() -> None:
    """A session knows no time: belief ends when the API says so."""
    endless = [*held(1, 0, 1, float("inf"), returned=9)[:2], {"what": "reading", "op": 1, "at": 2.0, "until": float("inf")}]
    lost = [*endless, {"what": "lost", "op": 1, "at": 3.0}, {"what": "returning", "op": 1, "at": 3.0}, {"what": "returned", "op": 1, "at": 3.0}]
    others = [held(1, 0, 1, 9, returned=8) for _ in range(SEATS - 1)]
    assert most_too_many(of(lost, *others, held(1, 0, 2.9, 9, returned=5))) == 1
    assert most_too_many(of(lost, *others, held(1, 0, 3.1, 9, returned=5))) == 0
    assert counted(*lost).lost == 1


def test_errors_are_those_of_calls_and_of_returns_and_a_full_pool_is_none_unless_it_cannot_be_full() -> None:
    """The race may be full for as long as a caller waits; the wide pool never is."""
    good = held(1, 0, 1, 9, returned=2)
    assert (counted(*good).errors, counted(*good).acquires) == (0, 1)
    assert counted(*good, *failed(2, 3, 8)).errors == 1
    assert counted(*failed(1, 0, 5, pool=RACE, is_denial=True)).errors == 0
    assert counted(*failed(1, 0, 5, pool=WIDE, is_denial=True)).errors == 1
    not_returned: Line = {"what": "return failed", "op": 1, "at": 2.0, "text": "Gone"}
    assert counted(*good, not_returned).errors == 1


def test_a_failover_costs_from_the_elections_end_or_from_the_asking_where_that_is_later() -> None:
    """Lost at 10, served again at 11."""
    before = held(1, 9, 9.1, 99, returned=9.2, pool=WIDE)
    waiting = turns("a", before + held(2, 9.5, 11.25, 99, returned=11.3, pool=WIDE), [], None)
    later = turns("b", before + held(2, 11.5, 11.6, 99, returned=11.7, pool=WIDE), [], None)
    assert first_seat(waiting, 11.0) == (0.25, 11.25)
    assert list(first_seat(later, 11.0) or ()) == pytest.approx([0.1, 11.6])
    outcome = Outcome(system="x", kind="kill")
    measure(outcome, waiting, 10.0, 11.0)
    assert (outcome.beyond_s, outcome.outage_s) == ([0.25], [1.25])
    assert first_seat(turns("c", before, [], None), 11.0) is None


def test_a_call_that_fails_and_is_made_again_is_no_new_beginning() -> None:
    """Nor is a return that keeps a client busy."""
    lines = [*held(1, 9, 9.1, 99, returned=9.2, pool=WIDE), *failed(2, 9.5, 12.0), *held(3, 12.1, 12.2, 99, returned=12.3, pool=WIDE)]
    assert list(first_seat(turns("a", lines, [], None), 11.0) or ()) == pytest.approx([1.2, 12.2])
    slow = held(1, 9, 9.1, 99, returned=9.2, pool=WIDE)
    slow[-1]["at"] = 12.0
    again = turns("b", slow + held(2, 12.0, 12.1, 99, returned=12.2, pool=WIDE), [], None)
    assert list(first_seat(again, 11.0) or ()) == pytest.approx([1.1, 12.1])


class Counter:
    """A peer that tells nothing but how many seats are taken, look after look; the last one stays."""

    def __init__(self, *taken: int) -> None:
        self._taken = list(taken)

    def taken(self) -> int:
        """The next number."""
        return self._taken.pop(0) if len(self._taken) > 1 else self._taken[0]


def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *taken: int) -> int:
    """What is orphaned when all clients rest."""
    for name in ("TTL_S", "SILENCE_S", "SLACK_S"):
        monkeypatch.setattr(episodes, name, 0.1)
    return Round(cast(Peer, Counter(*taken)), tmp_path, 1)._settle()


def test_seats_that_are_still_taken_when_a_lease_has_passed_are_orphaned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that come back in that time are not, and no answer is no zero."""
    assert settled(tmp_path, monkeypatch, 3, 2) == 2
    assert settled(tmp_path, monkeypatch, 3, -1, 1, 0) == 0
    with pytest.raises(Stuck, match="how many seats"):
        settled(tmp_path, monkeypatch, 3, -1)


# --- the keeper of the recipes ------------------------------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of less than a second."""
    monkeypatch.setattr(keeping, "TTL_S", SHORT_S)
    monkeypatch.setattr(keeping, "POLL_S", 0.02)


def wait_for(is_so: Callable[[], bool]) -> bool:
    """Look for three seconds at most."""
    until = monotonic() + 3
    while not is_so() and monotonic() < until:
        threading.Event().wait(0.01)
    return is_so()


@pytest.mark.usefixtures("short")
def test_a_lease_is_renewed_while_its_server_has_it_and_is_lost_when_it_has_not() -> None:
    """Belief is what was confirmed."""
    there = threading.Event()
    there.set()
    keeper = Keeper(lambda _key: there.is_set())
    kept = keeper.keep("x", monotonic())
    first = kept.until
    assert wait_for(lambda: kept.until > first + SHORT_S)
    assert not kept.lost.is_set()
    there.clear()
    assert wait_for(kept.lost.is_set)
    assert kept.until > monotonic(), "its server's word ends it at once, not its time"
    there.set()
    assert kept.believed_until() is None, "what is lost stays lost"
    keeper.close()


@pytest.mark.usefixtures("short")
def test_a_lease_that_nobody_confirms_is_believed_for_a_ttl_and_not_longer() -> None:
    """No answer is no loss, until the time is up."""
    asked: list[float] = []

    def silent(_key: str) -> bool:
        asked.append(monotonic())
        raise Failed

    keeper, began = Keeper(silent), monotonic()
    kept = keeper.keep("x", began)
    assert wait_for(kept.lost.is_set)
    assert monotonic() - began >= SHORT_S
    assert kept.until == pytest.approx(began + SHORT_S)
    assert len(asked) > 1
    keeper.close()


def test_a_caller_is_told_the_last_error_when_its_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """And gets the seat if one comes in time; a full pool is no error."""
    monkeypatch.setattr(keeping, "POLL_S", 0.01)
    answers = iter([Failed("first"), None, 7])

    def ask() -> int | None:
        answer = next(answers)
        if isinstance(answer, Failed):
            raise answer
        return answer

    assert patiently(ask, monotonic() + 3) == 7

    def fails() -> int:
        raise Failed("last")

    with pytest.raises(Failed, match="last"):
        patiently(fails, monotonic() + 0.05)
    assert patiently(lambda: None, monotonic() + 0.05) is None


# --- what a worker writes down ------------------------------------------------------------------------------------------------------


class Stub:
    """A desk with one seat for the asking, which is lost after some looks; an error in the place of either is raised."""

    def __init__(self, *, looks: int = 99, refuses: Exception | None = None, keeps: Exception | None = None) -> None:
        self._looks = looks
        self._refuses = refuses
        self._keeps = keeps

    def acquire(self, _pool: str) -> Stub:
        """The desk's part."""
        if self._refuses is not None:
            raise self._refuses
        return self

    def believed_until(self) -> float | None:
        """The seat's part, as all below."""
        self._looks -= 1
        return monotonic() + 9 if self._looks >= 0 else None

    def wait_change(self, timeout_s: float) -> None:
        """Not for long."""
        threading.Event().wait(timeout_s / 20)

    def give_back(self) -> None:
        """Or not."""
        if self._keeps is not None:
            raise self._keeps

    def close(self) -> None:
        """Nothing."""


def written(path: Path, desk: Stub) -> list[Line]:
    """What one turn at this desk leaves in the diary."""
    diary = worker.Diary(path)
    worker.turn(desk, RACE, Orders(loops=1, may_go=True), diary, 0.05)
    diary._file.close()
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_worker_writes_what_it_believes_look_by_look(tmp_path: Path) -> None:
    """Belief goes on from look to look, to the return or the loss."""
    lines = written(tmp_path / "kept", Stub())
    assert [line["what"] for line in lines][:2] == ["asked", "granted"]
    assert {line["what"] for line in lines[2:-2]} == {"reading"}
    assert [line["what"] for line in lines][-2:] == ["returning", "returned"]
    assert len(of(lines)[0].beliefs()) == len(lines) - 3
    lost = written(tmp_path / "lost", Stub(looks=3))
    assert [line["what"] for line in lost] == ["asked", "granted", "reading", "reading", "lost", "returning", "returned"]


def test_a_worker_tells_a_full_pool_from_an_error_and_a_return_that_failed(tmp_path: Path) -> None:
    """As the judge counts them."""
    outcomes = [
        counted(*written(tmp_path / f"{number}", desk))
        for number, desk in enumerate([Stub(refuses=NoSeat()), Stub(refuses=Failed("Gone")), Stub(keeps=Failed("Gone"))])
    ]
    assert [outcome.errors for outcome in outcomes] == [0, 1, 1]
    assert [outcome.acquires for outcome in outcomes] == [0, 0, 1]


# --- the tables ---------------------------------------------------------------------------------------------------------------------


def test_a_row_adds_up_the_episodes_of_one_kind_of_one_system() -> None:
    """An orphan, a loss and two over-issues show where they were."""
    played = [
        Outcome(system="a", kind="freeze", election_s=1.0, beyond_s=[0.1, 0.3], outage_s=[1.1, 1.3], acquires=5, orphaned=1, over_issued=2),
        Outcome(system="a", kind="freeze", election_s=3.0, beyond_s=[0.2], outage_s=[3.2], acquires=6, lost=1, errors=4, over_issued=1),
        Outcome(system="b", kind="freeze", stuck="not within 20 s"),
        Outcome(system="a", kind="kill", acquires=1),
    ]
    rows = list(figures(played))
    assert [(row.system, row.kind) for row in rows] == [("a", "kill"), ("a", "freeze"), ("b", "freeze")]
    row = rows[1]
    assert (row.episodes, row.election_s, row.beyond_median_s, row.beyond_worst_s, row.outage_s) == (2, 2.0, 0.2, 0.3, 1.3)
    assert (row.acquires, row.errors, row.lost, row.orphaned, row.over_issued_in, row.over_issued_most) == (11, 4, 1, 1, 2, 2)
    assert "a frozen" in row.line()
    assert "2 (by 2)" in row.line()
    assert rows[2].stuck == 1
    assert "-" in rows[2].line()


def test_a_warm_row_has_the_median_and_what_one_in_a_hundred_exceeds() -> None:
    """Of two hundred pairs two may take longer."""
    row = warm_row("a", [0.001] * 197 + [0.002, 0.5, 0.5], 3)
    assert (row.pairs, row.median_s, row.most_99_s, row.left_by_killed) == (200, 0.001, 0.002, 3)
    assert warm_row("a", [], 0).median_s is None


def test_there_are_fewer_seats_than_clients_in_one_pool_and_enough_in_the_other() -> None:
    """Else an over-issue could not show, or a full pool would count as an error."""
    assert peer.POOLS[RACE] < CLIENTS <= peer.POOLS[WIDE]
