"""Columns that earlier releases did not write are read as what they would hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from store_factory import synthetic

from biocache.store import Run, schema
from biocache.store.copying import copy_run
from biocache.store.integrity import verify_run


@pytest.mark.slow
@pytest.mark.parametrize(("size", "value"), [(0, 0), (30, -1)])
def test_a_run_of_before_seen_samples_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, value: int
) -> None:
    source = synthetic(training_size=size)
    old = [variable for variable in schema.columns() if variable.path != schema.SEEN]
    earlier = replace(source, columns={path: own for path, own in source.columns.items() if path != schema.SEEN})
    with monkeypatch.context() as patch:
        patch.setattr(schema, "columns", lambda: iter(old))
        earlier.write(earlier.create(tmp_path / "old"))
    assert not (tmp_path / "old" / source.spec.key.path / schema.SEEN).exists()
    run = Run.open(tmp_path / "old", source.spec.key)
    assert run.identity == source.write_all(tmp_path / "now").identity
    # A pre-trained model has seen nothing; of others it is not known.
    np.testing.assert_array_equal(run.column(schema.SEEN), np.full(run.counts.samples, value))
    assert list(verify_run(run)) == []
    copy_run(run, tmp_path / "copy")
    copied = Run.open(tmp_path / "copy", source.spec.key)
    assert copied.column(schema.SEEN).dtype == np.int8
    np.testing.assert_array_equal(copied.column(schema.SEEN), run.column(schema.SEEN))
    assert list(verify_run(copied)) == []
