"""What slurm.conf(5) says, as far as it has to be known without libslurm."""

from __future__ import annotations

from scrun.slurm import oci_conf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def srun_ports(environment: Mapping[str, str]) -> tuple[int, int]:
    """SrunPortRange: the ports that srun listens on, and that nodes can reach; (0, 0) when it may be any."""
    path = environment.get("SLURM_CONF") or oci_conf.DEFAULT_SLURM_CONF
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            settings = oci_conf.parse(file.read())
    except OSError:
        return 0, 0
    first, _, last = settings.get("srunportrange", "").split("#")[0].strip().partition("-")
    return (int(first), int(last)) if first.isdecimal() and last.isdecimal() else (0, 0)
