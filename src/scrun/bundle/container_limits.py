"""The limits in a container's config, as numbers of CPUs, MiB of memory and GPUs.

docker's and podman's ``--cpus``, ``--cpu-quota``, ``--cpuset-cpus`` and ``--memory`` are in linux.resources. GPUs come
in one of two ways, both seen with docker 28 and podman 5: as NVIDIA's hook with a variable (``--gpus`` where that hook
is installed), or as device nodes of a CDI specification (``--device nvidia.com/gpu=0``). The variable without the hook
doesn't count, because all of NVIDIA's images set it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.oci import CPU, Config, Memory


ALL_GPUS = -1
_HOOK, _VISIBLE = "nvidia-container", "NVIDIA_VISIBLE_DEVICES="
_NO_GPUS = ("", "none", "void")


def limits(config: Config) -> dict[str, int]:
    """The limits ``cpus``, ``memory`` (MiB) and ``gpus`` (ALL_GPUS for all), each only where the config has one."""
    resources = config.get("linux", {}).get("resources", {})
    numbers = {
        "cpus": _cpus(resources.get("cpu", {})),
        "memory": _memory(resources.get("memory", {})),
        "gpus": _gpus(config),
    }
    return {name: number for name, number in numbers.items() if number}


def _cpus(cpu: CPU) -> int:
    """The number of CPUs, rounded up."""
    by_time = by_number = 0
    if cpu.get("quota", 0) > 0:
        by_time = -(-cpu["quota"] // (cpu.get("period") or 100_000))  # the kernel's default, in microseconds
    for part in filter(None, cpu.get("cpus", "").split(",")):
        low, _, high = part.partition("-")
        try:
            by_number += int(high or low) - int(low) + 1
        except ValueError:
            return by_time  # an invalid list of CPUs doesn't count; the node's kernel never sees it
    return min(by_time, by_number) or by_time or by_number


def _memory(memory: Memory) -> int:
    limit = memory.get("limit", 0)
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
    """Whether a device node is a GPU: NVIDIA's /dev/nvidia0, or AMD's and Intel's /dev/dri/renderD128."""
    name = path.removeprefix("/dev/nvidia").removeprefix("/dev/dri/renderD")
    return name != path and name.isdigit()
