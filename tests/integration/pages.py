"""The hook scripts that scrun(1) shows, taken from the page that is installed; none of their text is kept here."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

PAGE = Path("/usr/share/man/man1/scrun.slurm.1.gz")  # Slurm's own, beside ours

# What the page of January 2024 had otherwise; each pair is what stands now, and what stood then. The pieces are
# joined by single blanks, as all of the script is before they are looked for.
_SINCE = (
    ("local open = io.open", "local json = require 'json' local open = io.open"),
    ('scratch_path = "/run/user"', 'scratch_path = "/run/user/"'),
    ('scratch_path.."/"..math.floor', "scratch_path..math.floor"),
    ("slurm.from_json(read_file", "json.decode(read_file"),
    ("slurm.to_json(config)", "json.encode(config)"),
    (
        'if (opts ~= nil and #opts > 0) then mount["options"] = opts else mount["options"] = nil end',
        'mount["options"] = opts',
    ),
    (
        "-- Force version to one compatible with older runc/crun at risk of new features silently failing "
        'config["ociVersion"] = "1.0.0" ',
        "",
    ),
)
# Of the words of that page's script; it proves that the above makes it, and nothing else.
_OLDER_SHA256 = "8e0f99f0b9630854d1d097b203ac8dc6d8a4d8b074a3c95829c442f5a1dd2a63"


def current() -> str:
    """The full example of the installed page, as it is there."""
    page = gzip.decompress(PAGE.read_bytes()).decode()
    (before, script) = page.split("\n.nf\n")
    assert "Full Container staging example" in before
    text = script.partition("\n.fi\n")[0]
    assert "\\" not in text  # no escape of roff's
    return text + "\n"


def older() -> str:
    """The one of the page of January 2024, on which the differences since are undone."""
    text, marks = _one_line(current())
    for now, then in _SINCE:
        assert text.count(now) == 1, f"the installed page has another example than was known: {now}"
        text = text.replace(now, then)
    assert hashlib.sha256(" ".join(text.split()).encode()).hexdigest() == _OLDER_SHA256
    for comment in marks:
        text = text.replace(comment, f"{comment}\n")
    return text


def _one_line(text: str) -> tuple[str, list[str]]:
    """All words with single blanks between them, and the comments, which end with a line."""
    comments = [" ".join(line.split()) for line in text.splitlines() if line.strip().startswith("--")]
    return " ".join(text.split()), comments


def with_scratch(script: str, directory: Path) -> str:
    """The one change that the page asks for: the shared directory."""
    (line,) = [line for line in script.splitlines() if "local scratch_path = " in line]
    path = line.partition('local scratch_path = "')[2].partition('"')[0]
    end = "/" if path.endswith("/") else ""
    return script.replace(f'local scratch_path = "{path}"', f'local scratch_path = "{directory}{end}"')
