"""An editable install is found although an earlier one has left a folder of the package's name behind."""

import base64
import csv
import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

# Only builds have it for certain.
pytest.importorskip("setuptools")

# What setuptools writes, in short: a finder that maps a module of a namespace to its file.
FINDER = """
import sys
from importlib.util import spec_from_file_location

MAPPING = {MAPPING!r}


class _EditableFinder:
    @classmethod
    def find_spec(cls, fullname, _path=None, _target=None):
        return spec_from_file_location(fullname, MAPPING[fullname]) if fullname in MAPPING else None


def install():
    sys.meta_path.append(_EditableFinder)
"""


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """Return the wheel of an editable install of one module, ``room.door``."""
    (tmp_path / "door.py").write_text("colour = 'green'\n")
    finder = FINDER.replace("{MAPPING!r}", repr({"room.door": str(tmp_path / "door.py")}))
    path = tmp_path / "room-1-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        archive.writestr("finder.py", finder)
        archive.writestr("room.pth", "import finder; finder.install()")
        archive.writestr("room-1.dist-info/RECORD", "finder.py,sha256=old,1\nroom-1.dist-info/RECORD,,\n")
    return path


def colour(site: Path) -> str:
    code = f"import site; site.addsitedir({str(site)!r}); import room.door; print(room.door.colour)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    return done.stdout.strip() or done.stderr.splitlines()[-1]


def test_what_an_earlier_install_left_does_not_hide_the_modules(wheel: Path, tmp_path: Path) -> None:
    from biocache.cli.editable import put_finder_first

    left = Path("room/door/__pycache__/kernel.nbi")
    for name in ("before", "after"):
        if name == "after":
            put_finder_first(wheel)
        with ZipFile(wheel) as archive:
            archive.extractall(tmp_path / name)
        (tmp_path / name / left).parent.mkdir(parents=True)
        (tmp_path / name / left).touch()
    assert "has no attribute 'colour'" in colour(tmp_path / "before")
    assert colour(tmp_path / "after") == "green"


def test_the_record_says_what_the_wheel_holds(wheel: Path) -> None:
    from biocache.cli.editable import put_finder_first

    put_finder_first(wheel)
    with ZipFile(wheel) as archive:
        data = archive.read("finder.py")
        rows = list(csv.reader(io.StringIO(archive.read("room-1.dist-info/RECORD").decode())))
        assert archive.testzip() is None
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    assert rows == [["finder.py", f"sha256={digest}", str(len(data))], ["room-1.dist-info/RECORD", "", ""]]


def test_a_wheel_without_a_finder_stays_as_it_is(tmp_path: Path) -> None:
    from biocache.cli.editable import put_finder_first

    with ZipFile(tmp_path / "plain.whl", "w") as archive:
        archive.writestr("module.py", "x = 1\n")
        archive.writestr("p-1.dist-info/RECORD", "module.py,sha256=own,6\n")
    put_finder_first(tmp_path / "plain.whl")
    with ZipFile(tmp_path / "plain.whl") as archive:
        assert archive.read("module.py") == b"x = 1\n"
        assert archive.read("p-1.dist-info/RECORD") == b"module.py,sha256=own,6\n"
