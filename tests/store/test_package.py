"""The package itself: its version, and the names that its rooms offer."""

import subprocess
import sys
from importlib.metadata import version

import biocache
import biocache.engine
import biocache.store


def test_the_version_is_that_of_the_install() -> None:
    assert biocache.__version__ == version("biocache")
    assert "__version__" in dir(biocache)
    assert not hasattr(biocache, "no_such_name")


def test_the_rooms_list_what_they_offer() -> None:
    assert set(biocache.engine.__all__) <= set(dir(biocache.engine))
    assert set(biocache.store.__all__) <= set(dir(biocache.store))


def test_the_package_loads_no_room() -> None:
    code = "import sys; import biocache; print([name for name in sys.modules if name.startswith('biocache.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
