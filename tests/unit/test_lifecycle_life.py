"""The table of a container's life: each state and event, and what holds of every life that it allows."""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from collections.abc import Callable, Iterable
from copy import copy
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from scrun.lifecycle.anchor import life
from scrun.lifecycle.anchor.effects import Effects

REQUESTS = ("start", "pause", "resume", "delete", "sigkill", "signal", "harmless_signal")
# What may be heard at any time that the anchor waits.
ALWAYS = {*REQUESTS, "delete_overdue"}


def _pairs() -> Iterable[tuple[str, str]]:
    return ((state, event) for state in life.STATES for event in life.EVENTS)


def _is_legal(state: str, event: str) -> bool:
    try:
        life.follow(state, event)
    except life.Illegal:
        return False
    return True


# --- the table


def test_no_state_and_event_have_two_rules() -> None:
    rules = Counter((state, event) for states, event, _then, _effects in life.RULES for state in states)
    assert [pair for pair, number in rules.items() if number > 1] == []


def test_each_effect_is_a_method() -> None:
    named = {effect for _states, _event, _then, effects in life.RULES for effect in effects.split()}
    methods = {name for name, _ in inspect.getmembers(Effects, inspect.isfunction) if not name.startswith("_")}
    assert named == methods - {"waits_for", "make_step"}


def test_each_state_is_reached_and_left() -> None:
    reached, seen = {life.NEW}, set[str]()
    while reached - seen:
        state = (reached - seen).pop()
        seen.add(state)
        reached |= {life.follow(state, event)[0] for event in life.EVENTS if _is_legal(state, event)}
    assert reached == {*life.STATES}


@pytest.mark.parametrize("state", life.WAITS)
def test_every_request_is_known_in_every_state(state: str) -> None:
    assert [event for event in ALWAYS if not _is_legal(state, event)] == []


def test_what_is_gone_stays_so() -> None:
    assert {life.follow(life.GONE, event)[0] for event in life.EVENTS} == {life.GONE}


WITHDRAWN = {life.WITHDRAWN, life.WITHDRAWN_RELEASING, life.WITHDRAWN_OWING}
# What can't be, by the event that can't: in all states but these.
ONLY_IN = {
    "plan": {life.NEW, life.WITHDRAWING, life.WITHDRAWAL, *WITHDRAWN},
    "recorded": {life.RECORDING},
    "announced": {life.ANNOUNCING, life.ANNOUNCING_QUEUED},
    "prepared": {life.PREPARING, life.OVERDUE, life.AWAITING, life.QUEUED, life.STARTED},
    "unfit": {life.PREPARING, life.OVERDUE, life.AWAITING, life.QUEUED, life.STARTED},
    "program_started": {life.STARTING, life.KILLING},
    "not_started": {life.STARTING, life.KILLING},
    "exited": {life.RUNNING, life.PAUSED, *life.TURNING, life.KILLING},
    "program_failed": {life.STARTING, life.KILLING},
    "connection_lost": {*life._STEP, life.KILLING, *life.ENDED} - {life.GONE},
    "network_lost": {*life._STEP, life.KILLING, *life.ENDED} - {life.GONE},
    "files_back": {life.BRINGING_BACK, life.RELEASING, life.WITHDRAWN, life.WITHDRAWN_RELEASING},
    "released": {life.RELEASING, life.OWING, life.WITHDRAWN_RELEASING, life.WITHDRAWN_OWING},
    "slurm_silent": {life.RELEASING, life.OWING, life.WITHDRAWN_RELEASING, life.WITHDRAWN_OWING},
}


@pytest.mark.parametrize("event", ONLY_IN)
def test_an_event_that_can_not_be_is_named(event: str) -> None:
    legal = {state for state in life.STATES if state != life.GONE and _is_legal(state, event)}
    assert legal == ONLY_IN[event]
    for state in {*life.STATES} - legal - {life.GONE}:
        with pytest.raises(life.Illegal, match=f"^internal error: {event} can't be where ") as raised:
            life.follow(state, event)
        assert (raised.value.state, raised.value.event) == (state, event)


@pytest.mark.parametrize(
    ("state", "event", "then", "effects"),
    [
        (life.CREATED, "start", life.LAUNCHING, "set_running await_start launch"),
        (life.QUEUED, "start", life.STARTED, "set_running say_queued answer_started"),
        (life.RUNNING, "start", life.RUNNING, "refuse_start"),
        (life.RUNNING, "signal", life.RUNNING, "send_signal"),
        (life.CREATED, "signal", life.BRINGING_BACK, "force_by_signal finish answer_sent"),
        (life.CREATED, "harmless_signal", life.CREATED, "answer_sent"),
        (life.PAUSED, "sigkill", life.KILLING, "hasten force kill_step answer_sent"),
        (life.KILLING, "sigkill", life.KILLING, "hasten answer_sent"),
        (life.OWING, "sigkill", life.OWING, "refuse_signal"),
        (life.PAUSING, "exited", life.BRINGING_BACK, "finish"),
        (life.BRINGING_BACK, "paused", life.BRINGING_BACK, "refuse_pause"),
        (life.STARTING, "program_failed", life.KILLING, "fail_program"),
        (life.RUNNING, "connection_lost", life.KILLING, "force await_step"),
        (life.KILLING, "connection_lost", life.KILLING, ""),
        (life.RUNNING, "network_lost", life.KILLING, "force_not_run await_step"),
        (life.KILLING, "program_failed", life.KILLING, ""),
        (life.STARTING, "sigkill", life.KILLING, "hasten force kill_step answer_sent"),
        (life.KILLING, "program_started", life.KILLING, "record_step kill_late answer_starts"),
        (life.WITHDRAWING, "create_overdue", life.WITHDRAWING, ""),
        (life.BRINGING_BACK, "files_renewed", life.BRINGING_BACK, ""),
    ],
)
def test_what_follows(state: str, event: str, then: str, effects: str) -> None:
    assert life.follow(state, event) == (then, effects.split())


# What an event is about, by the names of its arguments.
ABOUT = {
    **dict.fromkeys(("start", "pause", "resume", "delete", "paused", "resumed"), ("answer",)),
    **dict.fromkeys(("sigkill", "signal", "harmless_signal"), ("number", "answer")),
    **dict.fromkeys(("half_paused", "not_paused", "not_resumed"), ("answer", "error")),
    **dict.fromkeys(("hopeless", "unfit", "not_prepared", "explained", "creator_gone"), ("error",)),
    **dict.fromkeys(("not_started", "files_back", "not_released", "slurm_silent"), ("error",)),
    "exited": ("exit_status",),
    "program_failed": ("error", "exit_status"),
    **dict.fromkeys(("connection_lost", "network_lost"), ("why",)),
    "plan": ("plan",),
    "standin_ready": ("pid",),
    **dict.fromkeys(("recorded", "announced", "create_overdue", "prepared", "standin_gone", "directory_gone"), ()),
    **dict.fromkeys(("files_renewed", "program_started", "start_overdue", "released", "delete_overdue", "let_go"), ()),
}


def test_each_effect_takes_what_the_event_is_about() -> None:
    assert ABOUT.keys() == {*life.EVENTS}
    for _states, event, _then, effects in life.RULES:
        for effect in effects.split():
            signature = inspect.signature(getattr(Effects, effect))
            signature.bind(None, *ABOUT[event])
            _self, *taken = signature.parameters.values()
            names = [each.name.lstrip("_") for each in taken if each.kind != each.VAR_POSITIONAL]
            assert names[: len(ABOUT[event])] == [*ABOUT[event]][: len(names)], (effect, event)


def test_the_anchors_modules_tell_of_no_other_events() -> None:
    told: Counter[str] = Counter()
    for path in Path(inspect.getfile(life)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "happen":
                names = {each.value for each in ast.walk(node.args[0]) if isinstance(each, ast.Constant)}
                assert names
                assert {len(ABOUT[str(name)]) for name in names} == {len(node.args) - 1}, names
                told.update(map(str, names))
    assert told.keys() == {*life.EVENTS}


# --- whole lives


class World:
    """What is round an anchor: it carries the effects out as the real ones do, and knows what may happen next.

    ``may`` has what is under way, by what it may end with; each event takes it away.
    """

    def __init__(self) -> None:
        self.state = life.NEW
        self.seen = {life.NEW}
        self.done: list[str] = []
        self.may: dict[str, tuple[str, ...]] = {
            "plan": ("plan",),
            "creator": ("creator_gone",),
            "standin": ("standin_gone",),
            "preparation": (),
        }
        self.asked = 0
        self.answers: Counter[int] = Counter()
        self.starts: list[int] = []
        self.deletes: list[int] = []
        self.turning = 0  # who has asked for a pause or its end
        self._queue: list[tuple[str, int]] = []

    def ends(self) -> list[str]:
        """What may come of what is under way."""
        disk_full = ["hopeless"] if self.state in life.CREATING else []
        # One worker gives the job back when stage_out has ended.
        is_staging_out = bool({"files", "stage_out"} & {*self.may})
        under_way = (self.may[what] for what in self.may if what != "release" or not is_staging_out)
        return [*(event for events in under_way for event in events), *disk_full]

    def happen(self, event: str) -> None:
        """An event from outside, with all that it brings about at once."""
        who = self.turning if event in TURNED else 0
        for what, events in [*self.may.items()]:
            if event in events:
                del self.may[what]
                break
        if event == "program_failed":  # then its init ends
            self.may["step"] = ("exited",)
        if event in REQUESTS:
            self.asked += 1
            who = self.asked
        self._queue.append((event, who))
        while self._queue:
            event, who = self._queue.pop(0)
            self.state, effects = life.follow(self.state, event)
            self.seen.add(self.state)
            for effect in effects:
                self.carry_out(effect, who)

    def after(self, event: str) -> World:
        """The world that this one becomes by the event."""
        other = copy(self)
        for name in ("seen", "done", "may", "answers", "starts", "deletes"):
            setattr(other, name, copy(getattr(self, name)))
        other._queue = []
        other.happen(event)
        return other

    def carry_out(self, effect: str, who: int) -> None:
        self.done.append(effect)
        if effect in UNDER_WAY:
            self.may.update(UNDER_WAY[effect])
        if effect in ANSWERS:
            self.answers[who] += 1
            self.turning = 0 if who == self.turning else self.turning
        if effect in ("pause", "resume"):
            self.turning = who
        if effect in OTHERS:
            OTHERS[effect](self, who)

    def later(self, event: str) -> None:
        """At once, but after the other effects."""
        self._queue.append((event, 0))

    def finish(self) -> None:
        self.answer(self.starts)
        self.begin_end()

    def begin_end(self) -> None:
        self.may["files"] = ("files_back",)
        if "hasten" in self.done or "hasten_now" in self.done:
            self.may["let_go"] = ("let_go",)

    def hasten(self) -> None:
        if {"finish", "finish_not_run", "withdraw"} & {*self.done}:
            self.may["let_go"] = ("let_go",)

    def stop(self) -> None:
        self.forget("standin", "look")
        self.may["stage_out"] = ("files_back",)  # its end is told, too

    def answer(self, waiting: list[int]) -> None:
        self.answers.update(waiting)
        waiting.clear()

    def answer_deleted(self, who: int) -> None:
        """At once, if the files are back."""
        self.deletes.append(who)
        if not {"files", "stage_out"} & {*self.may}:
            self.answer(self.deletes)

    def force(self) -> None:
        """A step that is killed before its program runs only ends."""
        if "not_started" in self.may.get("step", ()):
            self.may["step"] = (*self.may["step"], "exited")

    def cancel(self) -> None:
        self.may["preparation"] = ("not_prepared",)

    def forget(self, *what: str) -> None:
        for each in what:
            self.may.pop(each, None)

    def leave(self) -> None:
        for waiting in (self.starts, self.deletes):
            self.answer(waiting)
        if self.turning:
            self.answers[self.turning] += 1  # by the server, who answers those whose request is still under way
            self.turning = 0


ANSWERS = {"answer_started", "refuse_start", "start_in_vain", "answer_sent", "refuse_signal", "send_signal"}
ANSWERS |= {"refuse_pause", "refuse_resume", "answer_paused", "answer_resumed", "answer_error", "answer_ended"}
TURNED = {"paused", "half_paused", "not_paused", "resumed", "not_resumed"}
PREPARED = ("prepared", "unfit", "not_prepared")
# What an effect has begun, and what that may end with.
UNDER_WAY: dict[str, dict[str, tuple[str, ...]]] = {
    "limit_create": {"limit": ("create_overdue",)},
    "move_standin": {"move": ("standin_ready", "hopeless")},
    "prepare": {"preparation": PREPARED},
    "watch_directory": {"directory": ("directory_gone",)},
    "watch_job": {"look": ("hopeless",)},
    "explain": {"explained": ("explained",)},
    "launch": {"renewed": ("files_renewed",)},
    "await_start": {"start limit": ("start_overdue",)},
    "await_end": {"delete limit": ("delete_overdue",)},
    "run_step": {
        "step": ("program_started", "program_failed", "not_started"),
        "link": ("connection_lost", "network_lost"),
    },
    "record_step": {"step": ("exited",)},
    "pause": {"turn": ("paused", "half_paused", "not_paused")},
    "undo_pause": {"turn": ("not_paused",)},
    "resume": {"turn": ("resumed", "not_resumed")},
    "cancel_job": {"release": ("released", "not_released", "slurm_silent")},
    "release": {"release": ("released", "not_released", "slurm_silent")},
    "owe": {"release": ("released", "not_released", "slurm_silent")},
}
OTHERS: dict[str, Callable[[World, int], None]] = {
    "record_plan": lambda world, _who: world.later("recorded"),
    "announce": lambda world, _who: world.later("announced"),
    "end_limit": lambda world, _who: world.forget("limit"),
    "set_running": lambda world, _who: world.forget("look"),  # of a job's end the step tells
    "cancel": lambda world, _who: world.cancel(),
    "cancel_killed": lambda world, _who: world.cancel(),
    "explain_killed": lambda world, _who: world.later("explained"),
    "await_start": lambda world, who: world.starts.append(who),
    "await_end": lambda world, who: world.deletes.append(who),
    "answer_starts": lambda world, _who: world.answer(world.starts),
    "force": lambda world, _who: world.force(),
    "fail_program": lambda world, _who: world.answer(world.starts),
    "fail_start": lambda world, _who: world.answer(world.starts),
    "answer_deleted": lambda world, who: world.answer_deleted(who),
    "answer_early": lambda world, _who: world.answer(world.deletes),
    "owe": lambda world, _who: world.answer(world.deletes),
    "finish": lambda world, _who: world.finish(),
    "finish_not_run": lambda world, _who: world.finish(),
    "stop": lambda world, _who: world.stop(),
    "hasten": lambda world, _who: world.hasten(),
    "hasten_now": lambda world, _who: world.hasten(),
    "withdraw": lambda world, _who: world.begin_end(),
    "fail_create": lambda world, _who: world.forget("standin"),
    "leave": lambda world, _who: world.leave(),
}


BEGINS = {"prepare", "announce", "tell_created", "await_start", "launch", "run_step", "pause", "resume"}
ENDS = {"cancel", "cancel_killed", "withdraw", "fail_program", "force", "force_by_signal", "finish", "finish_not_run"}
# Of these effects one is carried out, and once.
ONCE = ({"finish", "finish_not_run", "withdraw"}, {"stop", "fail_create"}, {"release", "cancel_job"}, {"settle"})
HARMFUL = {"delete", "sigkill", "signal", "standin_gone", "creator_gone", "directory_gone", "hopeless", "unfit"}
HARMFUL |= {"not_prepared", "not_started"}
LIVES = given(st.lists(st.integers(0, 1 << 16), max_size=60), st.sampled_from([0, 2, 20]))


def _begun_too_late(done: list[str]) -> list[str]:
    """What is begun after the first effect that ends the container."""
    first = next((number for number, effect in enumerate(done) if effect in ENDS), len(done))
    return [effect for effect in done[first:] if effect in BEGINS]


def _live(choices: Iterable[int], peace: int) -> World:
    """A life in which these of the events come that may; then it is deleted, and all ends that is under way.

    With more ``peace`` what ends a container comes less often, or no life gets far.
    """
    world = World()
    for choice in choices:
        events = [*REQUESTS, *world.ends()]
        if not ENDS & {*world.done}:
            events += peace * [event for event in events if event not in HARMFUL]
        if world.state != life.GONE:
            world.happen(events[choice % len(events)])
    number = 0
    while world.state != life.GONE:
        number += 1
        assert number < 200, (world.state, world.may)
        ends = [event for event in world.ends() if event not in ("slurm_silent", "creator_gone")]
        world.happen(ends[number % len(ends)] if number > 1 and ends else "delete")
    return world


@settings(max_examples=examples(500), deadline=None)
@LIVES
def test_every_life_ends_by_the_rules(choices: list[int], peace: int) -> None:
    world = _live(choices, peace)
    for effects in ONCE:
        assert sum(world.done.count(effect) for effect in effects) == 1, effects
    assert world.done[-1] == "leave"


@settings(max_examples=examples(500), deadline=None)
@LIVES
def test_each_request_is_answered_once(choices: list[int], peace: int) -> None:
    world = _live(choices, peace)
    assert world.answers == Counter(range(1, world.asked + 1))


@settings(max_examples=examples(500), deadline=None)
@LIVES
def test_nothing_begins_after_the_end_has(choices: list[int], peace: int) -> None:
    assert _begun_too_late(_live(choices, peace).done) == []


@settings(max_examples=examples(500), deadline=None)
@given(st.lists(st.sampled_from(life.EVENTS), max_size=60))
def test_whatever_is_heard_nothing_is_done_twice(events: list[str]) -> None:
    world = World()
    for event in events:
        try:
            world.happen(event)
        except life.Illegal:
            pass
    for effects in ONCE:
        assert sum(world.done.count(effect) for effect in effects) <= 1, effects
    assert _begun_too_late(world.done) == []


# What is under way in a state, one of these: without it nothing would end the state.
PREPARING, TURN = {"preparation"}, {"turn"}
UNDER_WAY_IN = {
    life.NEW: {"plan"},
    life.PREPARED: {"move"},
    life.OVERDUE: {"move"},
    life.PREPARING: {"move"},
    **dict.fromkeys((life.AWAITING, life.QUEUED, life.STARTED, life.QUITTING, life.GIVING_UP), PREPARING),
    life.WITHDRAWING: PREPARING,
    life.WITHDRAWAL: {"explained"},
    life.WITHDRAWN: {"files"},
    life.WITHDRAWN_RELEASING: {"release"},
    life.WITHDRAWN_OWING: {"release"},
    life.CREATED: {"look"},
    life.EXPLAINING: {"explained"},
    life.LAUNCHING: {"renewed"},
    life.STARTING: {"step", "explained"},
    life.RUNNING: {"step"},
    life.PAUSED: {"step"},
    life.KILLING: {"step", "explained"},
    **dict.fromkeys(life.TURNING, TURN),
    life.BRINGING_BACK: {"files"},
    life.RELEASING: {"release"},
    life.OWING: {"release"},
    life.GONE: set[str](),
}


def test_no_way_through_the_table_breaks_a_promise() -> None:
    """All of them: worlds that don't differ in what may come, nor in what was done once, are one."""
    todo = [World()]
    known: set[tuple[str, ...]] = set()
    while todo:
        world = todo.pop()
        waiting = len(world.starts) + len(world.deletes) + bool(world.turning)
        assert set(world.answers.values()) <= {1}
        assert len(world.answers) + waiting == world.asked, "each request was answered, or is kept to be"
        assert _begun_too_late(world.done) == []
        assert world.state == life.GONE or UNDER_WAY_IN[world.state] & {*world.may}, world.state
        done = tuple(sum(world.done.count(effect) for effect in effects) for effects in ONCE)
        assert all(number == 1 if world.state == life.GONE else number <= 1 for number in done), world.done
        waits = map(str, (bool(world.starts), bool(world.deletes), bool(world.turning), *done))
        key = (world.state, *waits, *sorted(world.may))
        if key not in known:
            known.add(key)
            events = {*REQUESTS, *world.ends()} if world.state != life.GONE else ()
            todo += [world.after(event) for event in events]
    assert {*life.WAITS} == {key[0] for key in known}
