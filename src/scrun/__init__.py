"""scrun: an OCI runtime that runs containers as Slurm jobs."""

__version__ = "0.2.0"
OCI_VERSION = "1.2.1"  # the version of the runtime-spec that state and features follow


def version_text() -> str:
    """runc's three lines; without a known commit the version stands in its place."""
    try:
        with open(f"{__path__[0]}/commit.txt", encoding="utf-8") as file:
            commit = file.read().strip()
    except OSError:
        commit = __version__
    return f"scrun version {__version__}\ncommit: {commit}\nspec: {OCI_VERSION}"
