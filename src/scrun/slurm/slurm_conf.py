"""What slurm.conf(5) says, as far as it has to be known without libslurm."""

from __future__ import annotations

from scrun.slurm import conf_text, sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def srun_ports(environment: Mapping[str, str]) -> tuple[int, int]:
    """SrunPortRange: the ports that srun listens on, and that nodes can reach; (0, 0) when it may be any."""
    settings = conf_text.settings(sources.slurm_conf(environment))
    first, _, last = settings.get("srunportrange", "").partition("-")
    return (int(first), int(last)) if first.isdecimal() and last.isdecimal() else (0, 0)


def authenticator(environment: Mapping[str, str]) -> str:
    """The daemon that tells slurmctld who a user of this host is (AuthType); empty where it isn't known."""
    settings = conf_text.settings(sources.slurm_conf(environment))
    return {"auth/munge": "munged", "auth/slurm": "sackd"}.get(settings.get("authtype", "auth/munge").lower(), "")


def has_task_programs(environment: Mapping[str, str]) -> bool:
    """Whether nodes run something of the site's before or after each task (TaskProlog, TaskEpilog)."""
    settings = conf_text.settings(sources.slurm_conf(environment))
    return bool(settings.get("taskprolog") or settings.get("taskepilog"))
