"""Stores on the Hugging Face hub, with huggingface_hub's own client against a double of the hub's API of files."""

import itertools
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hub import READ, Hub, Stored
from store_factory import Synthetic, assert_holds, synthetic

from biocache.store import Run, Store, sharing
from biocache.store.copying import copy_results, copy_run
from biocache.store.creating import create_run, discard_run
from biocache.store.errors import (
    IntegrityError,
    ReadOnlyError,
    SettingError,
    SpecMismatchError,
    StorageError,
    StoreFormatError,
)
from biocache.store.hub import HubFile, HubStorage, Listing
from biocache.store.integrity import verify_run
from biocache.store.results import keep_in, save_result
from biocache.store.sharing import HubWriter
from biocache.store.storage import open_storage

# huggingface_hub's use of its HTTP client.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

NAME = "me/features"
URL = f"hf://datasets/{NAME}"


def small() -> Synthetic:
    """Return a run of two packs and few objects."""
    return synthetic([3, 2], 3, keep=("hidden",), layers=(0, 1))


def opened(hub: Hub, url: str = URL, **options: str) -> Store:
    return Store.open(url, hub.options | options)


def shared(hub: Hub, source: Synthetic, folder: Path) -> Run:
    """Copy a run to the hub, and return it as it is there."""
    copy_run(source.write_all(folder), open_storage(URL, hub.options))
    return opened(hub).run(split=source.spec.key.split)


@pytest.mark.parametrize("task", ["ner", "nli"])
def test_a_run_goes_to_the_hub_and_back(hub: Hub, tmp_path: Path, task: str) -> None:
    source = synthetic(task=task, view="pair" if task == "nli" else "sentence")
    far = shared(hub, source, tmp_path / "from")
    assert_holds(far, source)
    assert list(verify_run(far)) == []
    copy_run(far, tmp_path / "back")
    assert_holds(Store.open(tmp_path / "back").run(), source)
    # One commit, of a repository that nobody else sees.
    assert hub.repos[NAME].messages == ["initial commit", f"Copy run {far.key}: 3 of 3 packs"]
    assert hub.repos[NAME].private
    (row,) = opened(hub).listing()
    assert (row["state"], row["packs_done"]) == ("complete", 3)
    assert far.group.storage.sizes("").keys() == hub.repos[NAME].files.keys() - {"README.md", ".gitattributes"}


def test_results_are_shared_in_one_commit(hub: Hub, tmp_path: Path) -> None:
    source = small()
    run = source.write_all(tmp_path / "s")
    copy_run(run, open_storage(URL, hub.options))
    for number, identities in enumerate(([run.identity], [{"run": str(run.key), "spec": "0" * 64}], [])):
        save_result(tmp_path / "s", "probe", {"number": number, "runs": identities}, xr.Dataset({"x": float(number)}))
    before = len(hub.repos[NAME].commits)
    assert copy_results(Store.open(tmp_path / "s"), opened(hub).storage) == (2, 1)
    assert len(hub.repos[NAME].commits) == before + 1
    assert sorted(result.load().x.item() for result in opened(hub).results()) == [0.0, 2.0]
    assert opened(hub).verify() == []
    assert copy_results(Store.open(tmp_path / "s"), opened(hub).storage) == (0, 1)
    assert len(hub.repos[NAME].commits) == before + 1
    copy_run(opened(hub).run(), tmp_path / "back")
    assert copy_results(opened(hub), tmp_path / "back") == (2, 0)


def test_one_layer_is_shared(hub: Hub, tmp_path: Path) -> None:
    source = synthetic()
    copy_run(source.write_all(tmp_path), open_storage(URL, hub.options), layers=(2,), keep=("hidden",))
    far = opened(hub).run()
    assert (far.spec.layers, far.spec.keep) == ((2,), ("hidden",))
    np.testing.assert_array_equal(
        far.activations("hidden").compute(scheduler="synchronous"), source.truth("hidden")[[2]]
    )
    assert not [path for path in hub.repos[NAME].files if "attention" in path]


def test_a_store_can_be_a_folder_of_a_repository(hub: Hub, tmp_path: Path) -> None:
    hub.make(NAME, {"notes/a.txt": b"mine", "features.txt": b"mine"})
    source, url = small(), f"{URL}@main/features/ner"
    copy_run(source.write_all(tmp_path), open_storage(url, hub.options))
    assert_holds(opened(hub, url).run(), source)
    assert hub.text(NAME, "notes/a.txt") == "mine"
    assert f"biocache copy {URL}/features/ner store.zarr" in hub.text(NAME)
    assert open_storage(f"{URL}/nowhere", hub.options).sizes("") == {}


def test_a_run_that_is_there_is_left_and_another_spec_is_refused(hub: Hub, tmp_path: Path) -> None:
    far = shared(hub, small(), tmp_path / "from")
    again = copy_run(Store.open(tmp_path / "from").run(), open_storage(URL, hub.options))
    assert (again.packs_copied, len(hub.repos[NAME].commits)) == (0, 2)
    with pytest.raises(SpecMismatchError, match=r"has another run .*feature_size: stored 6, asked for 8"):
        copy_run(synthetic(feature_size=8).write_all(tmp_path / "other"), open_storage(URL, hub.options))
    assert list(verify_run(far)) == []
    assert len(hub.repos[NAME].commits) == 2


def test_parts_of_a_run_become_one(hub: Hub, tmp_path: Path) -> None:
    source = synthetic()
    for place, packs in (("first", [0]), ("second", [1, 2])):
        run = source.create(tmp_path / place)
        source.write(run, packs)
        copy_run(run, open_storage(URL, hub.options))
        assert f"| {packs[-1] + 1} of 3 |" in hub.text(NAME)
    assert_holds(opened(hub).run(), source)
    assert [message[-14:] for message in hub.repos[NAME].messages[1:]] == [": 1 of 3 packs", ": 3 of 3 packs"]


def test_what_is_damaged_is_not_shared(hub: Hub, tmp_path: Path) -> None:
    run = synthetic().write_all(tmp_path)
    file = run.path / run.chunks("hidden").path(1, 2)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError):
        copy_run(run, open_storage(URL, hub.options))
    assert NAME not in hub.repos or hub.repos[NAME].messages == ["initial commit"]


def test_a_repository_with_other_files_is_no_store(hub: Hub, tmp_path: Path) -> None:
    repo = hub.make(NAME, {"data.csv": b"a,b"})
    with pytest.raises(StoreFormatError, match="is not a biocache store and not empty"):
        copy_run(small().write_all(tmp_path), open_storage(URL, hub.options))
    assert len(repo.commits) == 2


def test_uploaded_activations_are_freed(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "_FILES", 5)
    most: list[int] = []
    put = HubWriter.put

    def spy(writer: HubWriter, path: str, data: bytes) -> None:
        put(writer, path, data)
        chunks = [one for name, one in writer._added.items() if "/hidden/c/" in name]
        most.append(sum(len(one.path_or_fileobj) > 0 for one in chunks if isinstance(one.path_or_fileobj, bytes)))
        assert not [name for name in writer._held if "/hidden/c/" in name]

    monkeypatch.setattr(HubWriter, "put", spy)
    source = synthetic([3] * 12, 3, keep=("hidden",))
    assert_holds(shared(hub, source, tmp_path), source)
    assert max(most) < 5
    # Most were sent before the last was read.
    assert len([path for method, path in hub.requests if method == "POST" and "/preupload/" in path]) > 8


class Numbered:
    """A fault of the requests from a number on, or of that one alone; of uploads, which are alike, three count."""

    def __init__(self, number: int, fault: str, *, alone: bool) -> None:
        self.number, self.fault, self.alone = number, fault, alone
        self.count = self.uploads = 0

    def __call__(self, environ: dict[str, Any]) -> str:
        if environ["REQUEST_METHOD"] == "PUT":
            self.uploads += 1
            if self.uploads > 3:
                return ""
        self.count += 1
        fails = self.count == self.number if self.alone else self.count >= self.number
        return self.fault if fails else ""


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "alone"), [("503", False), ("cut", False), ("lost", True), ("403", True)])
def test_a_copy_that_fails_at_any_request_goes_on(hub: Hub, tmp_path: Path, fault: str, alone: bool) -> None:
    source = small()
    run = source.write_all(tmp_path)
    failures = 0
    for number in itertools.count(1):
        name, failing = f"me/number-{number}", Numbered(number, fault, alone=alone)
        place = open_storage(f"hf://datasets/{name}", hub.options)
        hub.contents.clear()
        with hub.failing(failing):
            try:
                copy_run(run, place)
            except (StorageError, ReadOnlyError):
                failures += 1
        # What others see is nothing or all.
        repo = hub.repos.get(name)
        if repo is not None and repo.files.keys() != {".gitattributes"}:
            assert_holds(opened(hub, f"hf://datasets/{name}").run(), source)
        copy_run(run, place)
        assert_holds(opened(hub, f"hf://datasets/{name}").run(), source)
        assert len(hub.repos[name].commits) == 2
        if failing.count < number:
            break
    assert failures > 1


def test_content_that_was_uploaded_is_not_sent_again(hub: Hub, tmp_path: Path) -> None:
    run = small().write_all(tmp_path)
    with (
        hub.failing(lambda environ: "403" if "/commit/" in environ["PATH_INFO"] else ""),
        pytest.raises(ReadOnlyError, match="may not be written to"),
    ):
        copy_run(run, open_storage(URL, hub.options))
    assert hub.repos[NAME].messages == ["initial commit"]
    sent = len(hub.uploads)
    copy_run(run, open_storage(URL, hub.options))
    chunks = {file.lfs for path, file in hub.repos[NAME].files.items() if "/hidden/hidden/c/" in path}
    assert chunks <= set(hub.uploads[:sent])
    assert not chunks & set(hub.uploads[sent:])


def test_a_store_is_read_at_one_commit(hub: Hub, tmp_path: Path) -> None:
    shared(hub, small(), tmp_path / "one")
    store = opened(hub)
    assert len(store.keys()) == 1
    travelled = pickle.loads(pickle.dumps(store.storage))
    old = hub.repos[NAME].head
    shared(hub, replace_split(small()), tmp_path / "two")
    assert len(store.keys()) == len(Store(travelled).keys()) == len(opened(hub, f"{URL}@{old}").keys()) == 1
    assert list(verify_run(store.run())) == []
    assert len(opened(hub).keys()) == 2
    assert travelled == store.storage
    # A worker asks for activations without a listing.
    worker = pickle.loads(pickle.dumps(store.storage))
    hub.requests.clear()
    assert worker.get(f"{store.keys()[0].path}/hidden/hidden/c/0/0/0")
    with pytest.raises(FileNotFoundError, match="nothing/there does not exist"):
        worker.get("nothing/there")
    assert not [path for _, path in hub.requests if "/tree/" in path]


def replace_split(source: Synthetic) -> Synthetic:
    """Return the same run of another split."""
    return replace(source, spec=replace(source.spec, key=replace(source.spec.key, split="train")))


def test_a_commit_that_came_between_is_kept(hub: Hub, tmp_path: Path) -> None:
    other = replace_split(small()).write_all(tmp_path / "other")
    hub.make(NAME)
    hub.before_commit = lambda: copy_run(other, open_storage(URL, hub.options))
    shared(hub, small(), tmp_path / "one")
    store = opened(hub)
    keys = store.keys()
    assert [key.split for key in keys] == ["test", "train"]
    assert store.verify() == []
    assert all(str(key) in hub.text(NAME) for key in keys)


def test_a_repository_that_somebody_else_makes_first_keeps_both(hub: Hub, tmp_path: Path) -> None:
    source, other = small(), replace_split(small()).write_all(tmp_path)
    place = open_storage(URL, hub.options).receiving()
    assert place.sizes("") == {}
    copy_run(other, open_storage(URL, hub.options))
    source.write(create_run(place, source.spec, other.provenance, source.plan, source.tables))
    assert opened(hub).run().key.split == "train"
    place.commit("Both")
    assert_holds(opened(hub).run(split="test"), source)
    assert opened(hub).verify() == []


def test_two_copies_of_one_run_are_not_mixed(hub: Hub, tmp_path: Path) -> None:
    source = small()
    run = source.write_all(tmp_path)
    hub.make(NAME)
    hub.before_commit = lambda: copy_run(run, open_storage(URL, hub.options))
    with pytest.raises(StorageError, match="was changed by somebody else during the copy; run the same command again"):
        copy_run(run, open_storage(URL, hub.options))
    assert copy_run(run, open_storage(URL, hub.options)).packs_copied == 0
    assert_holds(opened(hub).run(), source)


def test_a_repository_that_changes_all_the_time_is_given_up(hub: Hub, tmp_path: Path) -> None:
    repo = hub.make(NAME)

    def change() -> None:
        hub.before_commit = change
        repo.add(f"change {len(repo.commits)}", dict(repo.files))

    hub.before_commit = change
    with pytest.raises(StorageError, match="is changed by others all the time"):
        copy_run(small().write_all(tmp_path), open_storage(URL, hub.options))


def test_the_card_lists_runs_and_keeps_what_people_wrote(hub: Hub, tmp_path: Path) -> None:
    mine = "---\nlicense: mit\ntags:\n- mine\n---\n# My features\n\nRead *this* first.\n"
    hub.make(NAME, {"README.md": mine.encode()})
    far = shared(hub, small(), tmp_path / "one")
    card = hub.text(NAME)
    front, _, text = card.removeprefix("---\n").partition("\n---\n")
    assert front.splitlines() == [
        *("license: mit", "tags:", "- mine", "- biocache", "- zarr", "viewer: false"),
        *("task_categories:", "- token-classification"),
    ]
    assert text.startswith("# My features\n\nRead *this* first.\n\n<!-- biocache: begin;")
    row = next(line for line in text.splitlines() if line.startswith(f"| {far.key} |"))
    dataset = far.spec.dataset_digest[:12]
    assert [cell.strip() for cell in row.split("|")[2:-1]] == [
        *("models/tiny, SHA-256 mmmmmmmmmmmm", f"corpora/corpus, SHA-256 {dataset}", "hidden", "0, 1", "float16"),
        *("2", "5", "2 of 2", "2026-01-01"),
    ]
    assert "Made with biocache 0.1.0." in text
    assert f"biocache copy {URL} store.zarr" in text
    assert f'Store.open("{URL}")' in text
    # Somebody goes on to write around it; another run comes.
    repo = hub.repos[NAME]
    written = card.replace("Read *this*", "Read **that**") + "\n## Licence\n\nMIT\n"
    repo.add("by hand", repo.files | {"README.md": Stored(written.encode())})
    shared(hub, replace_split(small()), tmp_path / "two")
    after = hub.text(NAME)
    assert after.count("biocache: begin;") == after.count("biocache: end") == 1
    assert "Read **that** first." in after
    assert after.endswith("\n## Licence\n\nMIT\n")
    assert after.count("| hidden |") == 2


def test_names_are_no_markup_in_the_card(hub: Hub, tmp_path: Path) -> None:
    source = small()
    strange = replace(source.spec, key=replace(source.spec.key, model="a_b"))
    origin = replace(
        source.write_all(tmp_path / "a").provenance,
        model_source="x|y<script>[z](u)\n--> <!-- biocache: end -->",
        dataset_source="/home/me/corpora/secret",
        random_weights=True,
    )
    made = create_run(tmp_path / "b", strange, origin, source.plan, source.tables)
    copy_run(made, open_storage(URL, hub.options))
    card = hub.text(NAME)
    assert r"| random weights, x\|y\<script\>\[z\](u)\\n--\> \<\!-- biocache: end --\>, SHA-256" in card
    assert "| secret, SHA-256" in card
    assert r"/a\_b/" in card
    assert card.count("<!-- biocache: end -->") == 1


def test_a_front_matter_that_is_no_yaml_is_one_line(hub: Hub, tmp_path: Path) -> None:
    hub.make(NAME, {"README.md": b"---\na: [\n---\nx"})
    with pytest.raises(SettingError, match=r"front matter of the repository's README.md cannot be read") as told:
        copy_run(small().write_all(tmp_path), open_storage(URL, hub.options))
    assert "\n" not in str(told.value)


def test_nothing_but_copies_is_written_to(hub: Hub, tmp_path: Path) -> None:
    far = shared(hub, small(), tmp_path)
    place = far.group.storage
    before = dict(hub.repos[NAME].files)
    result = xr.Dataset({"x": ("y", [1.0])})
    for call in (
        lambda: create_run(place, far.spec, far.provenance, far.plan, {}),
        lambda: discard_run(place, far.key),
        lambda: save_result(place, "probe", {"a": 1}, result),
        lambda: Store(place).verify(repair=True),
        lambda: place.put("a", b""),
        lambda: place.create("a", b""),
        lambda: place.delete("zarr.json"),
        lambda: place.publish({}, "a"),
        lambda: place.install("a", "b"),
        lambda: place.remove_empty_group("ner"),
    ):
        with pytest.raises((ReadOnlyError, ValueError), match=r"only copies of runs are written to|do not fit"):
            call()
    # It is shown, and not kept.
    assert keep_in((place,), "probe", {"a": 1}, result).x.values.tolist() == [1.0]
    assert hub.repos[NAME].files == before
    assert Store(place).sweep() == 0


@pytest.mark.parametrize(
    "url",
    [
        *("hf://models/a/b", "hf://a/b", "hf://datasets/a", "hf://datasets/a/b@", "hf://datasets/a/b/../c", "hf://"),
        *("hf://datasets/a/b/.hidden", "hf://datasets/a b/c", "hf://datasets/a/b?x=1", "hf://buckets/a/b"),
    ],
)
def test_a_url_that_is_no_dataset_repository_is_one_line(url: str) -> None:
    with pytest.raises(
        SettingError, match="is no place on the Hugging Face hub for stores; write hf://datasets"
    ) as told:
        open_storage(url)
    assert "\n" not in str(told.value)


def test_parts_of_a_url() -> None:
    place = open_storage("hf://datasets/a/b@refs%2Fpr%2F1/some/folder.zarr/")
    assert isinstance(place, HubStorage)
    assert (place.repo, place.revision, place.folder) == ("a/b", "refs/pr/1", "some/folder.zarr")
    assert str(place) == "hf://datasets/a/b@refs%2Fpr%2F1/some/folder.zarr"
    with pytest.raises(SettingError, match="'region' is not one of the Hugging Face hub, which has endpoint, token"):
        open_storage("hf://datasets/a/b", {"region": "x"})


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("401", "may not be read .*log in with `hf auth login`"),
        ("403", "may not be read .*log in with `hf auth login`"),
        ("404", "cannot be reached"),
        ("429", "cannot be reached .*429"),
        ("500", "cannot be reached"),
        ("503", "cannot be reached"),
        ("cut", "cannot be reached"),
    ],
)
@pytest.mark.parametrize("where", ["/revision/", "/tree/", "/resolve/"])
def test_what_the_hub_refuses_says_nothing_of_what_is_stored(
    hub: Hub, tmp_path: Path, fault: str, told: str, where: str
) -> None:
    shared(hub, small(), tmp_path)
    with (
        hub.failing(lambda environ: fault if where in environ["PATH_INFO"] else ""),
        pytest.raises(StorageError, match=told) as error,
    ):
        opened(hub)
    assert "\n" not in str(error.value)
    assert not isinstance(error.value, OSError)
    with (
        hub.failing(lambda environ: fault if "/hidden/c/" in environ["PATH_INFO"] else ""),
        pytest.raises(StorageError),
    ):
        list(verify_run(opened(hub).run()))


def test_who_may_not_read(hub: Hub, tmp_path: Path) -> None:
    shared(hub, small(), tmp_path)
    for url, options, told in (
        (URL, {"token": ""}, "is not there, or is private and not yours to see"),
        ("hf://datasets/me/nothing", {}, "me/nothing is not there, or is private"),
        (f"{URL}@nowhere", {}, "has no revision 'nowhere'"),
        (URL, {"token": "a-wrong-token"}, "may not be read .*Invalid credentials"),
    ):
        with pytest.raises(StorageError, match=told) as error:
            Store.open(url, {"endpoint": hub.endpoint} | {k: v for k, v in (hub.options | options).items() if v})
        assert "\n" not in str(error.value)
        assert "a-wrong-token" not in f"{error.value} {error.value.__cause__!r}"
    hub.repos[NAME].gated = True
    with pytest.raises(StorageError, match=r"may not be read .*accept the conditions of a gated repository"):
        opened(hub, token=READ)
    assert hub.options["token"] not in repr(open_storage(URL, hub.options))


def test_who_may_not_write(hub: Hub, tmp_path: Path) -> None:
    run = small().write_all(tmp_path)
    for _ in range(2):
        with pytest.raises(ReadOnlyError, match=r"may not be written to .*log in with `hf auth login`") as error:
            copy_run(run, open_storage(URL, hub.options | {"token": READ}))
        assert "\n" not in str(error.value)
        hub.make(NAME)


def test_files_that_the_repository_ignores_are_no_run(hub: Hub, tmp_path: Path) -> None:
    repo = hub.make(NAME, {".gitignore": b"packs\n"})
    with pytest.raises(SettingError, match=r"the \.gitignore of dataset repository me/features keeps .* out"):
        copy_run(small().write_all(tmp_path), open_storage(URL, hub.options))
    assert len(repo.commits) == 2


def test_without_a_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match=r"cannot be reached .*run the same command again"):
        Store.open(URL, {"endpoint": "http://127.0.0.1:9"})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(StorageError, match="HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set; unset it") as error:
        opened(hub)
    assert "\n" not in str(error.value)


def test_a_listing() -> None:
    paths = ["a/b/c", "a/b/d", "a/x", "a.b/y", "a0", "ab/c/d", "zarr.json"]
    listing = Listing({path: HubFile(1, path) for path in reversed(paths)})
    assert listing.folders("") == ["a.b", "a", "ab"]
    assert listing.folders("a") == ["b"]
    assert listing.folders("zarr.json") == listing.folders("nothing") == []
    assert list(listing.below("a")) == ["a/b/c", "a/b/d", "a/x"]
    listing.add("a/c/e", HubFile(2, ""))
    listing.add("a/x", HubFile(3, ""))
    assert listing.folders("a") == ["b", "c"]
    assert sorted(listing.below("")) == sorted([*paths, "a/c/e"])
