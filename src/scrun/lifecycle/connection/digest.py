"""HMAC-SHA256 (RFC 2104) with the interpreter's own SHA-256.

hashlib and hmac load OpenSSL, which costs each anchor 3.7 MB of memory (measured: 12.2 MB resident instead of 8.5); the
interpreter's own module costs 0.1 MB.
"""

from __future__ import annotations

import sys
from _operator import _compare_digest as compare_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha256
elif sys.version_info >= (3, 12):
    try:
        from _sha2 import sha256
    except ImportError:  # an interpreter that was built with OpenSSL's alone
        from hashlib import sha256
else:
    try:
        from _sha256 import sha256
    except ImportError:
        from hashlib import sha256

__all__ = ["SIZE", "compare_digest", "hmac_sha256"]

SIZE = 32  # bytes of a digest
_BLOCK = 64  # bytes
_INNER, _OUTER = (bytes(letter ^ pad for letter in range(256)) for pad in (0x36, 0x5C))


def hmac_sha256(key: bytes, text: bytes) -> bytes:
    """The authentication code of a text."""
    if len(key) > _BLOCK:
        key = sha256(key).digest()
    key = key.ljust(_BLOCK, b"\0")
    inner = sha256(key.translate(_INNER) + text).digest()
    return sha256(key.translate(_OUTER) + inner).digest()
