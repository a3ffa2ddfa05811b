"""scrun: an OCI runtime that runs containers as Slurm jobs."""

__version__ = "0.1.0"
OCI_VERSION = "1.2.1"  # the version of the runtime-spec that state and features follow
VERSION_TEXT = f"scrun version {__version__}\ncommit: {__version__}\nspec: {OCI_VERSION}"  # runc's three lines
