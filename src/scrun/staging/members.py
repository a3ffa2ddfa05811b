"""The members of an archive as tarfile reads them, without its trust in their sizes."""

from __future__ import annotations

import tarfile

MOST = 16 << 20  # bytes before an entry: extended attributes have at most 64 KiB each (xattr(7)), a path 4 KiB

_BEFORE_AN_ENTRY = frozenset(
    (
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    )
)


class Member(tarfile.TarInfo):
    """A member. What precedes an entry to describe it is read into memory as a whole, so it may not be of any size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Member:
        """Make one from a block of the archive.

        Raises:
            tarfile.ReadError: it announces a description larger than :data:`MOST`. (tarfile takes a
                ``HeaderError`` after the first block for the archive's end.)
            tarfile.HeaderError: it isn't a header.
        """
        member = super().frombuf(buf, encoding, errors)
        if member.type in _BEFORE_AN_ENTRY and not 0 <= member.size <= MOST:
            raise tarfile.ReadError(f"{member.size} bytes describe one entry")
        return member
