# cython: language_level=3
"""The description of a job (slurm.h: job_desc_msg_t), and the allocation or the change that it asks for.

An interactive allocation gives its nodes in milliseconds, where a batch job waits for slurmctld's next batch cycle and
needs a script on the node (salloc(1) does the same).
"""

from libc.stdint cimport uint32_t

from scrun.slurm cimport _control
from scrun.slurm cimport libslurm as slurm

SPREAD_JOB = slurm.SPREAD_JOB
USE_MIN_NODES = slurm.USE_MIN_NODES


cdef class Description:
    """A description of a job, empty at first."""

    def __cinit__(self):
        self.job = slurm.scrun_new_description()
        if self.job is NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.owner is None:
            slurm.slurm_free_job_desc_msg(self.job)

    cdef lend(self, slurm.job_desc_msg_t *job, object owner):
        """Use another object's description from now on; that object frees it."""
        if self.owner is None:
            slurm.slurm_free_job_desc_msg(self.job)
        self.job, self.owner = job, owner

    def be_allocation(self):
        """Remove a batch job's fields: the script, its environment, and numbers that nobody asked for."""
        slurm.scrun_be_allocation(self.job)

    def set(self, str name, value):
        """Set a field by its name in slurm.h: a text or a whole number.

        ``bitflags`` are added to those that are set already.
        """
        cdef bint done
        if name == "bitflags":
            self.job.bitflags |= value
            return
        field = name.encode()
        if isinstance(value, str):
            text = value.encode("utf-8", "surrogateescape")
            if b"\0" in text:
                raise ValueError(f"{name}: a null byte can't be in it")
            done = slurm.scrun_set_text(self.job, field, text)
        else:
            done = slurm.scrun_set_number(self.job, field, value)
        if not done:
            raise ValueError(f"{name}={value!r}: there is no such field in a job's description, or it is too small")

    def fields(self):
        """The whole description, for tests: the fields that scrun knows by their names, and the bytes of the others."""
        cdef const slurm.scrun_field *field
        cdef const char *text
        known = {"bitflags": self.job.bitflags}
        others = bytearray((<char *> self.job)[: sizeof(slurm.job_desc_msg_t)])
        field = slurm.scrun_texts
        while field.name is not NULL:
            text = slurm.scrun_text(self.job, field)
            known[field.name.decode()] = None if text is NULL else (<bytes> text).decode("utf-8", "surrogateescape")
            others[field.offset : field.offset + sizeof(char *)] = bytes(sizeof(char *))
            field += 1
        field = slurm.scrun_numbers
        while field.name is not NULL:
            known[field.name.decode()] = slurm.scrun_number(self.job, field)
            field += 1
        return known, bytes(others)


def allocate(Description description):
    """Ask for the allocation that is described.

    Return slurmctld's answer, see scrun.slurm.allocation.ask_for_job; ``nodes`` is empty if the job is queued.
    """
    cdef slurm.resource_allocation_response_msg_t *response = NULL
    if slurm.slurm_allocate_resources(description.job, &response) or response is NULL:
        raise _control.error()
    try:
        return _control.answer(response, description.job)
    finally:
        slurm.slurm_free_resource_allocation_response_msg(response)


def look_up(uint32_t job_id, Description description):
    """Look up a job that was asked for by that description; an AllocationError if it is queued or gone."""
    return _control.look_up_as(job_id, description.job)


def update(uint32_t job_id, Description description):
    """Change an existing job to what the description has."""
    slurm.scrun_describe_job(description.job, job_id)
    if slurm.slurm_update_job(description.job):
        raise _control.error()
