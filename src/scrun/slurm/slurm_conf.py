"""Settings of slurm.conf(5) that scrun reads without libslurm."""

from __future__ import annotations

from scrun.digits import is_number
from scrun.slurm import conf_paths, conf_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def srun_ports(environment: Mapping[str, str]) -> tuple[int, int]:
    """The first and the last port that nodes can reach on this host (SrunPortRange); (0, 0) for any port."""
    settings = conf_text.settings(conf_paths.slurm_conf(environment))
    first, _, last = settings.get("srunportrange", "").partition("-")
    return (int(first), int(last)) if is_number(first) and is_number(last) else (0, 0)


def authenticator(environment: Mapping[str, str]) -> str:
    """The daemon that authenticates this host's users to slurmctld (AuthType); empty if it isn't known."""
    settings = conf_text.settings(conf_paths.slurm_conf(environment))
    return {"auth/munge": "munged", "auth/slurm": "sackd"}.get(settings.get("authtype", "auth/munge").lower(), "")


def has_task_programs(environment: Mapping[str, str]) -> bool:
    """Whether nodes run a program of the site before or after each task (TaskProlog, TaskEpilog)."""
    settings = conf_text.settings(conf_paths.slurm_conf(environment))
    return bool(settings.get("taskprolog") or settings.get("taskepilog"))
