"""The types of config.json (OCI runtime-spec 1.2, config.md and config-linux.md), for type checkers alone.

Only members that scrun reads or writes are named; a config keeps its other members. :mod:`scrun.bundle.config` checks a
config against a schema before these types hold. At run time this module has no names, so import it under
``TYPE_CHECKING``::

    if TYPE_CHECKING:
        from scrun.oci import Config
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes 6 ms; type checkers know this name
if TYPE_CHECKING:
    from typing import Any, Required, TypedDict

    class Root(TypedDict, total=False):
        """The root filesystem; ``path`` is relative to the bundle."""

        path: str
        readonly: bool

    class Mount(TypedDict, total=False):
        """An entry of ``mounts``."""

        destination: Required[str]
        type: str
        source: str
        options: list[str]
        uidMappings: list[IDMapping]
        gidMappings: list[IDMapping]

    class IDMapping(TypedDict):
        """A range of ids: ``size`` ids from ``hostID`` on are those from ``containerID`` on in the container."""

        containerID: int
        hostID: int
        size: int

    class User(TypedDict, total=False):
        """Whom the process runs as; ids are the container's."""

        uid: int
        gid: int
        umask: int
        additionalGids: list[int]

    class ConsoleSize(TypedDict):
        """The terminal's size in characters."""

        height: int
        width: int

    class RLimit(TypedDict):
        """A resource limit (getrlimit(2)); ``type`` is RLIMIT_NOFILE and so on."""

        type: str
        soft: int
        hard: int

    class Scheduler(TypedDict, total=False):
        """A scheduling policy (sched(7))."""

        policy: Required[str]
        nice: int

    class Process(TypedDict, total=False):
        """The container's process, or a process that exec adds."""

        args: list[str]
        cwd: str
        terminal: bool
        consoleSize: ConsoleSize
        user: User
        env: list[str]
        capabilities: dict[str, list[str]]  # lists of names by set: "bounding", "effective", …
        rlimits: list[RLimit]
        noNewPrivileges: bool
        apparmorProfile: str
        selinuxLabel: str
        oomScoreAdj: int
        scheduler: Scheduler
        ioPriority: dict[str, object]

    class Hook(TypedDict, total=False):
        """A program that the runtime runs at some moment of the container's life."""

        path: Required[str]
        args: list[str]
        env: list[str]
        timeout: int  # seconds

    # Lists of hooks by the moment: "createRuntime", "poststart", …
    Hooks = dict[str, list[Hook]]

    class Namespace(TypedDict, total=False):
        """A namespace of the container: a new one, or the one at ``path``."""

        type: Required[str]
        path: str

    class Device(TypedDict, total=False):
        """A device node to be made in the container."""

        path: Required[str]
        type: str
        major: int
        minor: int
        fileMode: int
        uid: int
        gid: int

    class DeviceRule(TypedDict, total=False):
        """An entry of the cgroup's list of devices; without a number it stands for all numbers."""

        allow: Required[bool]
        type: str
        major: int
        minor: int
        access: str

    class CPU(TypedDict, total=False):
        """CPU limits: ``quota`` of each ``period`` in microseconds, and a list of CPU numbers."""

        quota: int
        period: int
        cpus: str

    class Memory(TypedDict, total=False):
        """Memory limits, in bytes."""

        limit: int
        swap: int

    class Resources(TypedDict, total=False):
        """Limits of the container's cgroup."""

        devices: list[DeviceRule]
        cpu: CPU
        memory: Memory

    class Linux(TypedDict, total=False):
        """What only Linux has."""

        namespaces: list[Namespace]
        uidMappings: list[IDMapping]
        gidMappings: list[IDMapping]
        timeOffsets: dict[str, object]
        devices: list[Device]
        netDevices: dict[str, object]
        cgroupsPath: str
        resources: Resources
        intelRdt: dict[str, object]
        memoryPolicy: dict[str, object]
        sysctl: dict[str, str]
        mountLabel: str
        seccomp: dict[str, Any]
        maskedPaths: list[str]
        readonlyPaths: list[str]

    class Config(TypedDict, total=False):
        """config.json. A checked one has ``ociVersion``, ``root`` and ``process``, which has ``args`` and ``cwd``."""

        ociVersion: str
        process: Process
        root: Root
        hostname: str
        domainname: str
        mounts: list[Mount]
        hooks: Hooks
        annotations: dict[str, str]
        linux: Linux
