"""GPUs of a CDI specification, made those that the job was given.

``--device nvidia.com/gpu=0`` names the first GPU of the engine's machine, and its device node /dev/nvidia0; Slurm gives
the job whatever GPU of a node is free. Without this a container would have the device node of another job's GPU.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    Config = dict[str, Any]

_NVIDIA = "/dev/nvidia"


def numbered(config: Config) -> list[Config]:
    """The device nodes that are one GPU of NVIDIA's each, named by its number as Slurm's GRES are."""
    devices = config.get("linux", {}).get("devices", [])
    return [device for device in devices if device["path"].removeprefix(_NVIDIA).isdigit()]


def renumber(config: Config, gpus: Sequence[int]) -> Iterator[str]:
    """Put the nodes of the GPUs with these numbers in the place of those that the config has."""
    named = numbered(config)
    if not named or not gpus:
        return
    given = [{**named[0], "path": f"{_NVIDIA}{number}", "minor": number} for number in gpus]
    before, after = (", ".join(device["path"] for device in devices) for devices in (named, given))
    if before != after:
        config["linux"]["devices"] = [device for device in config["linux"]["devices"] if device not in named] + given
        yield f"{before} becomes {after}: the job was given that"
