"""Replace the GPUs of a CDI specification by the GPUs of the job.

``--device nvidia.com/gpu=0`` names the first GPU of the engine's machine, /dev/nvidia0. Slurm gives the job any free
GPU of the node. Without the replacement a container would have the device node of another job's GPU.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrun.oci import Config, Device


_NVIDIA = "/dev/nvidia"


def numbered(config: Config) -> list[Device]:
    """The config's device nodes for one NVIDIA GPU each; their names end in the GPU's number, as Slurm's GRES do."""
    devices = config.get("linux", {}).get("devices", [])
    return [device for device in devices if device["path"].removeprefix(_NVIDIA).isdigit()]


def renumber(config: Config, gpus: Sequence[int]) -> Iterator[str]:
    """Replace the config's GPU device nodes by those of the GPUs with these numbers; yield what changed."""
    config_gpus = numbered(config)
    if not config_gpus or not gpus:
        return
    job_gpus: list[Device] = [{**config_gpus[0], "path": f"{_NVIDIA}{number}", "minor": number} for number in gpus]
    before, after = (", ".join(device["path"] for device in devices) for devices in (config_gpus, job_gpus))
    if before != after:
        others = [device for device in config["linux"]["devices"] if device not in config_gpus]
        config["linux"]["devices"] = [*others, *job_gpus]
        yield f"{before} becomes {after}: the job was given that"
