"""What a container's config says of resources: the words that docker and podman have for them, as numbers.

``--cpus``, ``--cpu-quota``, ``--cpuset-cpus`` and ``--memory`` arrive in linux.resources. GPUs arrive in one of two
ways, both seen with docker 28 and podman 5: as NVIDIA's hook with its variable (``--gpus`` where that hook is
installed), or as the device nodes that a CDI specification names (``--device nvidia.com/gpu=0``). A variable without
the hook says nothing: NVIDIA's images all have it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Config = dict[str, Any]

ALL_GPUS = -1
_HOOK, _VISIBLE = "nvidia-container", "NVIDIA_VISIBLE_DEVICES="
_NO_GPUS = ("", "none", "void")


def limits(config: Config) -> dict[str, int]:
    """``cpus``, ``memory`` (MiB) and ``gpus`` (ALL_GPUS: all there are), each only if there is one."""
    resources = config.get("linux", {}).get("resources", {})
    found = {
        "cpus": _cpus(resources.get("cpu", {})),
        "memory": _memory(resources.get("memory", {})),
        "gpus": _gpus(config),
    }
    return {name: number for name, number in found.items() if number}


def _cpus(cpu: Config) -> int:
    """Whole CPUs: of 1.5 it takes two."""
    by_time = by_number = 0
    if cpu.get("quota", 0) > 0:
        by_time = -(-cpu["quota"] // (cpu.get("period") or 100_000))  # the kernel's default, in microseconds
    for part in filter(None, cpu.get("cpus", "").split(",")):
        low, _, high = part.partition("-")
        try:
            by_number += int(high or low) - int(low) + 1
        except ValueError:
            return by_time  # what is no list of CPUs says nothing; the node's kernel never sees it
    return min(by_time, by_number) or by_time or by_number


def _memory(memory: Config) -> int:
    limit: int = memory.get("limit", 0)
    return -(-limit // (1 << 20)) if limit > 0 else 0


def _gpus(config: Config) -> int:
    devices = config.get("linux", {}).get("devices", [])
    nodes = {device["path"] for device in devices if _is_gpu(device["path"])}
    if nodes:
        return len(nodes)
    hooks = [hook["path"] for kind in config.get("hooks", {}).values() for hook in kind]
    if not any(_HOOK in path.rpartition("/")[2] for path in hooks):
        return 0
    values = [entry[len(_VISIBLE) :] for entry in config["process"].get("env", []) if entry.startswith(_VISIBLE)]
    named = values[-1].split(",") if values else []
    if "all" in named:
        return ALL_GPUS
    return len([name for name in named if name not in _NO_GPUS])


def _is_gpu(path: str) -> bool:
    """Whether a device node is one GPU: NVIDIA's /dev/nvidia0, or AMD's and Intel's /dev/dri/renderD128."""
    name = path.removeprefix("/dev/nvidia").removeprefix("/dev/dri/renderD")
    return name != path and name.isdigit()
