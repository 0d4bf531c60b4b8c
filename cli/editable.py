"""How ``pip install -e`` makes the rooms importable; only setuptools loads this, while it builds.

The wheel of an editable install holds a finder of our packages, which Python asks last. A folder ``biocache/`` that
something has left in site-packages, such as a cache beside the modules of an earlier install, is a namespace package
for Python, found first: every import would fail. So the finder is put first.
"""

import base64
import csv
import hashlib
import io
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from setuptools.command.editable_wheel import editable_wheel

__all__ = ["EditableWheel", "put_finder_first"]

_LAST, _FIRST = "sys.meta_path.append(_EditableFinder)", "sys.meta_path.insert(0, _EditableFinder)"


class EditableWheel(editable_wheel):  # type: ignore[misc]
    """Build the wheel of an editable install."""

    def run(self) -> None:
        """Build it as setuptools does, then put its finder first."""
        super().run()
        for wheel in Path(self.dist_dir).glob("*.whl"):
            put_finder_first(wheel)


def put_finder_first(wheel: Path) -> None:
    """Make the finder of an editable wheel the first that Python asks; a wheel without one stays as it is."""
    with ZipFile(wheel) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()}
    changed = {name: data.replace(_LAST.encode(), _FIRST.encode()) for name, data in files.items()}
    finders = {name for name in files if changed[name] != files[name]}
    records = [name for name in files if name.endswith(".dist-info/RECORD")]
    for record in records:
        changed[record] = _recorded(files[record], {name: changed[name] for name in finders})
    with ZipFile(wheel, "w", ZIP_DEFLATED) as archive:
        for name, data in changed.items():
            archive.writestr(name, data)


def _recorded(record: bytes, files: dict[str, bytes]) -> bytes:
    """Return a wheel's record with the digests and sizes of some files."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    for name, digest, size in csv.reader(io.StringIO(record.decode())):
        if name in files:
            own = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=").decode()
            writer.writerow((name, f"sha256={own}", len(files[name])))
        else:
            writer.writerow((name, digest, size))
    return lines.getvalue().encode()
