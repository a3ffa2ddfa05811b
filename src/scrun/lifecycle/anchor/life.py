"""A container's life as a table: for a state and an event, the next state and the effects.

The module is pure: it imports nothing, and does no input or output. :mod:`scrun.lifecycle.anchor.anchor` tells it each
event, enters the next state, and carries out the effects in their order; :mod:`scrun.lifecycle.anchor.effects` has a
method for each effect. docs/architecture.md draws the states. A pair that isn't in the table is an error,
:class:`Illegal`. The requests of callers are in the table for every state.
"""

from __future__ import annotations

# While create waits. The OCI status is "creating".
NEW = "create reads the config"
RECORDING = "the plan is written down"
PREPARING = "the job is prepared, the stand-in moves"
OVERDUE = "the job is prepared, the stand-in moves, create waits no longer"
PREPARED = "the job is ready, the stand-in moves"
AWAITING = "the job is prepared"
ANNOUNCING = "the container is announced"
ANNOUNCING_QUEUED = "the container is announced, its job is prepared"
WITHDRAWING = "it is given up before it was created"
WITHDRAWAL = "why it is given up is looked up"
WITHDRAWN = "it was never created, and its changes come back"
WITHDRAWN_RELEASING = "it was never created, and its job is given back"
WITHDRAWN_OWING = "it was never created, and its job can't be given back"

# Created, until there is a step: "created" or, when it was started, "running".
QUEUED = "created, its job is prepared"
CREATED = "created"
STARTED = "started, its job is prepared"
GIVING_UP = "it can't run: what is under way is cancelled"
EXPLAINING = "it can't run: why is looked up"
QUITTING = "killed: what is under way is cancelled"
LAUNCHING = "its files are renewed"

# Its step. "running" or "paused".
STARTING = "srun starts the step"
RUNNING = "running"
PAUSING = "being paused"
UNDOING = "not all could be paused: all go on"
PAUSED = "paused"
RESUMING = "being resumed"
KILLING = "killed: the step has to end"

# Its end. "stopped" from RELEASING on.
BRINGING_BACK = "its changes come back"
RELEASING = "its job is given back"
OWING = "its job can't be given back"
GONE = "gone"

# While create waits, and the preparation is under way: to give the container up, it has to be cancelled.
_UNDER_WAY = (NEW, PREPARING, OVERDUE, AWAITING)
_WITHDRAWN = (WITHDRAWING, WITHDRAWAL, WITHDRAWN, WITHDRAWN_RELEASING, WITHDRAWN_OWING)
CREATING = (*_UNDER_WAY, RECORDING, PREPARED, ANNOUNCING, ANNOUNCING_QUEUED, *_WITHDRAWN)
_NO_STEP = (QUEUED, CREATED, STARTED, GIVING_UP, EXPLAINING, QUITTING, LAUNCHING)
TURNING = (PAUSING, UNDOING, RESUMING)
_STEP = (STARTING, RUNNING, PAUSED, *TURNING)
ENDED = (BRINGING_BACK, RELEASING, OWING, GONE)  # the container's process has ended
_STOPPED = (RELEASING, OWING, GONE)
_AFTER = (BRINGING_BACK, *_STOPPED)
STATES = (*CREATING, *_NO_STEP, *_STEP, KILLING, *ENDED)
# Each of these lasts only as long as the effects that lead into it, because one of them brings about the next event.
MOMENTARY = (RECORDING, ANNOUNCING, ANNOUNCING_QUEUED)
WAITS = tuple(state for state in STATES if state not in MOMENTARY)

SAME = ""  # the state stays

TYPE_CHECKING = False
if TYPE_CHECKING:
    # States, event, next state, effects in their order.
    Rule = tuple[tuple[str, ...], str, str, str]


class Illegal(Exception):
    """An event that can't happen in the state."""

    def __init__(self, state: str, event: str) -> None:
        super().__init__(f"internal error: {event} can't be where {state}")
        self.state, self.event = state, event


def _kills(states: tuple[str, ...], then: str, effects: str) -> tuple[Rule, ...]:
    """The rules for the five events that end a created container at once, as SIGKILL does."""
    return (
        (states, "delete", then, f"await_end {effects}"),
        (states, "sigkill", then, f"hasten {effects} answer_sent"),
        (states, "standin_gone", then, f"hasten_now {effects}"),
        (states, "directory_gone", then, f"say_directory_gone {effects}"),
        (states, "creator_gone", then, effects),
    )


RULES: tuple[Rule, ...] = (
    # create
    ((NEW,), "plan", RECORDING, "record_plan"),
    ((RECORDING,), "recorded", PREPARING, "watch_directory limit_create move_standin prepare"),
    ((PREPARING,), "create_overdue", OVERDUE, ""),
    ((PREPARING, OVERDUE), "prepared", PREPARED, "end_limit"),
    ((PREPARING,), "standin_ready", AWAITING, "record_standin"),
    ((AWAITING,), "create_overdue", ANNOUNCING_QUEUED, "announce"),
    ((AWAITING,), "prepared", ANNOUNCING, "end_limit announce"),
    ((OVERDUE,), "standin_ready", ANNOUNCING_QUEUED, "record_standin announce"),
    ((PREPARED,), "standin_ready", ANNOUNCING, "record_standin announce"),
    ((ANNOUNCING_QUEUED,), "announced", QUEUED, "tell_created watch_job show_podman"),
    ((ANNOUNCING,), "announced", CREATED, "tell_created watch_job show_podman"),
    ((QUEUED,), "prepared", CREATED, "show_podman"),
    ((STARTED,), "prepared", LAUNCHING, "show_podman launch"),
    # a create that fails
    ((*_UNDER_WAY, RECORDING, ANNOUNCING_QUEUED), "hopeless", WITHDRAWING, "cancel"),
    (_UNDER_WAY, "creator_gone", WITHDRAWING, "cancel"),
    (_UNDER_WAY, "delete", WITHDRAWING, "await_end cancel_killed"),
    (_UNDER_WAY, "standin_gone", WITHDRAWING, "hasten_now cancel_killed"),
    (_UNDER_WAY, "directory_gone", WITHDRAWING, "say_directory_gone cancel_killed"),
    ((PREPARED, ANNOUNCING), "hopeless", WITHDRAWAL, "explain"),
    ((PREPARED,), "creator_gone", WITHDRAWAL, "explain"),
    ((PREPARED,), "delete", WITHDRAWAL, "await_end explain_killed"),
    ((PREPARED,), "standin_gone", WITHDRAWAL, "hasten_now explain_killed"),
    ((PREPARED,), "directory_gone", WITHDRAWAL, "say_directory_gone explain_killed"),
    ((PREPARING, OVERDUE, AWAITING), "unfit", WITHDRAWAL, "explain"),
    ((*_UNDER_WAY, WITHDRAWING), "not_prepared", WITHDRAWAL, "explain"),
    ((WITHDRAWAL,), "explained", WITHDRAWN, "withdraw"),
    ((WITHDRAWN,), "files_back", WITHDRAWN_RELEASING, "cancel_job"),
    ((WITHDRAWN,), "let_go", WITHDRAWN_RELEASING, "cancel_job go_late"),
    ((WITHDRAWN_RELEASING,), "files_back", SAME, "log_lost"),
    ((WITHDRAWN_RELEASING,), "released", GONE, "settle fail_create leave"),
    ((WITHDRAWN_RELEASING,), "not_released", GONE, "log_owed settle fail_create leave"),
    ((WITHDRAWN_RELEASING,), "slurm_silent", WITHDRAWN_OWING, "log_owed fail_create owe"),
    ((WITHDRAWN_OWING,), "slurm_silent", SAME, "log_owed owe"),
    ((WITHDRAWN_OWING,), "released", GONE, "settle leave"),
    ((WITHDRAWN_OWING,), "not_released", GONE, "log_owed settle leave"),
    (_WITHDRAWN, "delete", SAME, "await_end"),
    (_WITHDRAWN, "standin_gone", SAME, "hasten_now"),
    (_WITHDRAWN, "directory_gone", SAME, "say_directory_gone"),
    # start
    ((CREATED,), "start", LAUNCHING, "set_running await_start launch"),
    ((QUEUED,), "start", STARTED, "set_running say_queued answer_started"),
    ((GIVING_UP, EXPLAINING), "start", SAME, "start_in_vain"),
    ((*CREATING, STARTED, QUITTING, LAUNCHING, *_STEP, KILLING, *ENDED), "start", SAME, "refuse_start"),
    ((LAUNCHING,), "files_renewed", STARTING, "run_step"),
    ((STARTING,), "program_started", RUNNING, "record_step nudge_terminal answer_starts"),
    ((STARTING,), "program_failed", KILLING, "fail_program"),
    ((LAUNCHING, STARTING, KILLING), "start_overdue", SAME, "answer_starts"),
    # a container that can't run
    ((QUEUED,), "hopeless", GIVING_UP, "cancel"),
    ((CREATED,), "hopeless", EXPLAINING, "explain"),
    ((QUEUED, STARTED), "unfit", EXPLAINING, "explain"),
    ((QUEUED, STARTED, GIVING_UP), "not_prepared", EXPLAINING, "explain"),
    ((EXPLAINING,), "explained", BRINGING_BACK, "say_why finish_not_run"),
    # pause, resume
    ((RUNNING,), "pause", PAUSING, "pause"),
    ((PAUSING,), "paused", PAUSED, "set_paused answer_paused"),
    ((PAUSING,), "half_paused", UNDOING, "undo_pause"),
    ((PAUSING, UNDOING), "not_paused", RUNNING, "answer_error"),
    ((PAUSED,), "resume", RESUMING, "resume"),
    ((RESUMING,), "resumed", RUNNING, "set_running answer_resumed"),
    ((RESUMING,), "not_resumed", PAUSED, "answer_error"),
    (tuple(state for state in WAITS if state != RUNNING), "pause", SAME, "refuse_pause"),
    (tuple(state for state in WAITS if state != PAUSED), "resume", SAME, "refuse_resume"),
    ((KILLING,), "paused", SAME, "set_paused answer_paused"),
    ((KILLING,), "half_paused", SAME, "undo_pause"),
    ((KILLING,), "resumed", SAME, "set_running answer_resumed"),
    ((KILLING,), "not_resumed", SAME, "answer_error"),
    (ENDED, "paused", SAME, "refuse_pause"),
    (ENDED, "half_paused", SAME, "refuse_pause"),
    (ENDED, "resumed", SAME, "answer_resumed"),
    (ENDED, "not_resumed", SAME, "answer_resumed"),
    ((KILLING, *ENDED), "not_paused", SAME, "answer_error"),
    # signals
    ((*CREATING, *_STOPPED), "sigkill", SAME, "refuse_signal"),
    ((*CREATING, *_STOPPED), "signal", SAME, "refuse_signal"),
    ((*CREATING, *_STOPPED), "harmless_signal", SAME, "refuse_signal"),
    ((QUEUED, STARTED), "signal", QUITTING, "force_by_signal cancel_killed answer_sent"),
    ((GIVING_UP,), "signal", QUITTING, "force_by_signal answer_sent"),
    ((CREATED, LAUNCHING, EXPLAINING), "signal", BRINGING_BACK, "force_by_signal finish answer_sent"),
    ((QUITTING, BRINGING_BACK), "signal", SAME, "answer_sent"),
    ((*_NO_STEP, BRINGING_BACK), "harmless_signal", SAME, "answer_sent"),
    ((*_STEP, KILLING), "signal", SAME, "send_signal"),
    ((*_STEP, KILLING), "harmless_signal", SAME, "send_signal"),
    # kill
    *_kills((QUEUED, STARTED), QUITTING, "force cancel_killed"),
    *_kills((GIVING_UP,), QUITTING, "force"),
    *_kills((CREATED, LAUNCHING, EXPLAINING), BRINGING_BACK, "force finish"),
    *_kills(_STEP, KILLING, "force kill_step"),
    ((STARTING,), "connection_lost", SAME, "end_step"),
    ((RUNNING, PAUSED, *TURNING), "connection_lost", KILLING, "force await_step"),
    ((KILLING, *ENDED), "connection_lost", SAME, ""),
    ((STARTING,), "network_lost", SAME, "end_step"),
    ((RUNNING, PAUSED, *TURNING), "network_lost", KILLING, "force_not_run await_step"),
    ((KILLING, *ENDED), "network_lost", SAME, ""),
    ((KILLING,), "program_failed", SAME, ""),
    *_kills((QUITTING, KILLING, BRINGING_BACK), SAME, ""),
    ((QUITTING,), "not_prepared", BRINGING_BACK, "finish"),
    ((KILLING,), "program_started", SAME, "record_step kill_late answer_starts"),
    # the end of the step
    ((STARTING, KILLING), "not_started", SAME, "explain"),
    ((STARTING, KILLING), "explained", BRINGING_BACK, "fail_start finish_not_run"),
    ((RUNNING, PAUSED, *TURNING, KILLING), "exited", BRINGING_BACK, "finish"),
    # the end
    ((BRINGING_BACK,), "files_back", RELEASING, "stop release"),
    ((BRINGING_BACK,), "let_go", RELEASING, "stop release go_late"),
    ((RELEASING,), "files_back", SAME, "log_lost"),
    ((RELEASING, OWING), "released", GONE, "settle leave"),
    ((RELEASING, OWING), "not_released", GONE, "log_owed settle leave"),
    ((RELEASING, OWING), "slurm_silent", OWING, "log_owed owe"),
    ((RELEASING,), "delete", SAME, "answer_deleted"),
    ((OWING,), "delete", SAME, "await_end"),
    ((GONE,), "delete", SAME, "answer_ended"),
    ((RELEASING,), "delete_overdue", SAME, "answer_early"),
    (_STOPPED, "directory_gone", SAME, "say_directory_gone"),
    # events that come too late to matter: of timers, of workers
    (_WITHDRAWN, "plan", SAME, ""),
    (_WITHDRAWN, "hopeless", SAME, ""),
    ((*_WITHDRAWN, *_STOPPED), "creator_gone", SAME, ""),
    (_WITHDRAWN, "standin_ready", SAME, ""),
    (_WITHDRAWN, "create_overdue", SAME, ""),
    ((QUITTING, GIVING_UP, EXPLAINING, BRINGING_BACK, *_STOPPED), "hopeless", SAME, ""),
    ((WITHDRAWN_RELEASING, WITHDRAWN_OWING, *_STOPPED), "let_go", SAME, ""),
    (_AFTER, "files_renewed", SAME, ""),
    (_AFTER, "explained", SAME, ""),
    ((RUNNING, PAUSED, *TURNING, *_AFTER), "start_overdue", SAME, ""),
    (tuple(state for state in WAITS if state != RELEASING), "delete_overdue", SAME, ""),
)

EVENTS = tuple(dict.fromkeys(event for _states, event, _then, _effects in RULES))


def follow(state: str, event: str) -> tuple[str, list[str]]:
    """The next state, and the names of the effects.

    Raises:
        Illegal: the event can't happen in the state.
    """
    for states, known, then, effects in RULES:
        if known == event and state in states:
            return then or state, effects.split()
    if state == GONE:
        return GONE, []  # the loop ends; what it still had to tell doesn't matter
    raise Illegal(state, event)
