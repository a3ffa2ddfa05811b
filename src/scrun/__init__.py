"""scrun: an OCI runtime that runs containers as Slurm jobs."""

__version__ = "0.1.0"
OCI_VERSION = "1.2.1"  # of the runtime-spec that the state and the features follow


def version_text() -> str:
    """runc's three lines; the commit is the version where the build knew of none."""
    try:
        with open(f"{__path__[0]}/commit.txt", encoding="ascii") as file:
            commit = file.read().strip()
    except OSError:
        commit = __version__
    return f"scrun version {__version__}\ncommit: {commit}\nspec: {OCI_VERSION}"
