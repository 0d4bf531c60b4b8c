"""The page in a browser: drawn without an error or a request, and every control changes what is shown."""

import base64
import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_factory import HOSTILE, Page, shown_maps

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Start the machine's browser."""
    with playwright.sync_playwright() as engine:
        # In a container there is neither a sandbox nor much shared memory.
        started = engine.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


class Tab:
    """An opened page, and what it complained of or asked for."""

    def __init__(self, browser: Any, path: Path, width: int = 1400, scheme: str = "light") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        # What is waited for comes, however slow the machine.
        self.context.set_default_timeout(0)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda said: self._heard(said.type, said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}") or dialog.dismiss())
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-figures=drawn]")
        self.shown()

    def shown(self) -> None:
        """Wait until the viewer shows what is chosen."""
        self.page.wait_for_function(
            """() => document.getElementById("viewer").dataset.shown ===
            ["group", "sample", "layer", "head", "size"].map((name) => document.getElementById(`view-${name}`).value)
            .join(" ")"""
        )

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait until something has happened on the page."""
        while not happened():
            self.page.wait_for_timeout(20)

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def pixels(self, selector: str) -> np.ndarray[Any, Any]:
        """Return the pixels of a canvas, or of the first canvas in an element, (row, column, channel)."""
        script = """(element) => {
            const own = (root) => root.tagName === "CANVAS" ? root : [...root.querySelectorAll("*"), root].flatMap(
                (part) => part.tagName === "CANVAS" ? [part] : part.shadowRoot ? [own(part.shadowRoot)] : []
            ).find(Boolean);
            const canvas = own(element);
            return canvas.toDataURL().split(",")[1];
        }"""
        image = base64.b64decode(self.page.locator(selector).first.evaluate(script))
        return np.asarray(Image.open(io.BytesIO(image)).convert("RGBA"))

    def maps(self) -> list[bytes]:
        """Return what both maps of the viewer show."""
        return [self.pixels(f"#view-{side}").tobytes() for side in ("left", "right")]

    def choose(self, name: str, value: object) -> None:
        self.page.select_option(f"#view-{name}", str(value))
        self.shown()

    def file(self, selector: str) -> tuple[str, list[list[str]]]:
        """Return the name and the rows of the file that a button gives."""
        with self.page.expect_download() as waiting:
            self.page.locator(selector).click()
        text = Path(waiting.value.path()).read_bytes().decode("utf-8")
        assert text.count("\r\n") > 1
        return waiting.value.suggested_filename, list(csv.reader(io.StringIO(text, newline="")))

    @property
    def foreign(self) -> list[str]:
        """Requests for anything but the page and what it made itself."""
        return [url for url in self.requests[1:] if not url.startswith(("blob:", "data:"))]


@pytest.fixture
def tab(browser: Any, written: Path) -> Iterator[Tab]:
    """Return the page, opened anew."""
    opened = Tab(browser, written)
    yield opened
    opened.context.close()
    assert opened.complaints == []
    assert opened.foreign == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
def test_every_figure_is_drawn_and_nothing_is_wider_than_the_page(
    browser: Any, written: Path, width: int, scheme: str
) -> None:
    tab = Tab(browser, written, width, scheme)
    plots = tab.page.locator(".plot")
    # Of both probes (one with a control), both comparisons at two sizes, and fine-tuning.
    assert plots.count() == 3 + 1 + 2 + 2 + 1
    for place in range(plots.count()):
        drawn = tab.pixels(f":nth-match(.plot, {place + 1})")
        assert len(np.unique(drawn.reshape(-1, 4), axis=0)) > 5
    for side in ("left", "right"):
        assert len(np.unique(tab.pixels(f"#view-{side}").reshape(-1, 4), axis=0)) > 5
    assert tab.page.evaluate("document.documentElement.scrollWidth") == width
    paper = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    assert (tab.complaints, tab.foreign) == ([], [])
    assert tab.requests == [written.as_uri()]
    tab.context.close()


@pytest.mark.slow
def test_each_control_of_the_viewer_changes_the_maps(tab: Tab) -> None:
    seen = [tab.maps()]
    for name, value in (("layer", 2), ("head", 1), ("size", 100), ("sample", 1), ("group", 2)):
        tab.choose(name, value)
        seen.append(tab.maps())
        assert seen[-1][1] != seen[-2][1], name
        # The left one is the pre-trained model's, whatever is beside it, but for the scale that both share.
        assert (seen[-1][0] != seen[-2][0]) or name == "size"
    assert len({tuple(maps) for maps in seen}) == len(seen)


@pytest.mark.slow
def test_the_viewer_shows_the_values_of_the_map(tab: Tab, page: Page) -> None:
    tab.choose("layer", 2)
    tab.choose("size", 100)
    maps = shown_maps(page, 0, 0)[:, 1, 0] / 255
    canvas = tab.page.locator("#view-left")
    canvas.focus()
    for _ in range(2):
        canvas.press("ArrowDown")
    canvas.press("ArrowRight")
    words = page.viewer["groups"][0]["samples"][0]["words"]
    before, after = maps[0, 1, 1], maps[2, 1, 1]
    said = tab.page.locator("#view-readout").inner_text()
    expected = f"“{words[1]}” to “{words[1]}”: {before:.3f} at 0 %, {after:.3f} at 100 %, change "
    assert said.startswith(expected)
    assert float(said.removeprefix(expected).replace("\u2212", "-")) == pytest.approx(after - before, abs=6e-4)


@pytest.mark.slow
def test_the_pointer_reads_a_cell(tab: Tab) -> None:
    box = tab.page.locator("#view-right").bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.7)
    tab.page.locator("#view-right").hover()
    assert re.search(r"” to “.*”: \d\.\d{3} at 0 %, \d\.\d{3} at 10 %", tab.page.locator("#view-readout").inner_text())


@pytest.mark.slow
def test_hostile_words_are_shown_as_text(tab: Tab, page: Page) -> None:
    shown = tab.page.locator("#view-words").inner_text()
    for word in page.viewer["groups"][0]["samples"][0]["words"]:
        assert word in HOSTILE
        assert word.strip() in shown
    assert tab.page.evaluate("document.querySelectorAll('img, #view-words script, #view-words b').length") == 0
    assert "<b>bold</b>" in shown or "onload" in shown
    tab.choose("group", 2)
    label = page.viewer["groups"][2]["samples"][0]["label"]
    assert tab.page.locator("#view-label").inner_text() == label
    assert "premise:" in tab.page.locator("#view-words").inner_text()


@pytest.mark.slow
def test_a_model_alone_is_shown_alone(tab: Tab) -> None:
    tab.choose("group", 1)
    assert not tab.page.locator("#view-right-figure").is_visible()
    assert tab.page.locator("#view-size").is_disabled()
    assert tab.page.locator("#view-left-title").inner_text() == "gpt2 at 0 %, pre-trained"


@pytest.mark.slow
def test_a_head_that_changed_is_shown_by_its_button(tab: Tab, page: Page) -> None:
    button = tab.page.locator("#attention-2 button.show").last
    wanted = {name: button.get_attribute(f"data-{name}") for name in ("group", "size", "layer", "head")}
    button.click()
    tab.until(lambda: tab.page.locator("#view-group").input_value() == wanted["group"])
    tab.shown()
    assert {name: tab.page.locator(f"#view-{name}").input_value() for name in wanted} == wanted
    assert page.viewer["groups"][int(wanted["group"] or 0)]["task"] == "nli"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["probes-1", "attention-1", "fine-tuning-1"])
def test_a_figure_gives_its_numbers_as_a_file(tab: Tab, page: Page, name: str) -> None:
    filename, (columns, *rows) = tab.file(f"#{name} button.csv")
    assert filename == f"{name}.csv"
    table = page.json(f"{name}-data")
    assert columns == table["columns"]
    assert len(rows) == len(table["rows"])
    for row, wanted in zip(rows, table["rows"], strict=True):
        for text, value in zip(row, wanted, strict=True):
            if isinstance(value, float | int) and not isinstance(value, bool):
                assert float(text) == value
            else:
                assert text == {None: "", True: "true", False: "false"}.get(value, value)


@pytest.mark.slow
def test_the_viewer_gives_its_maps_as_a_file(tab: Tab, page: Page) -> None:
    tab.choose("head", 1)
    tab.choose("size", 100)
    filename, (columns, *rows) = tab.file("#view-csv")
    assert filename == "ner-corpus-bert-sentence-sample-0-layer-1-head-1.csv"
    assert columns == ["query", "query_word", "key", "key_word", "attention_0", "attention_100"]
    words = page.viewer["groups"][0]["samples"][0]["words"]
    maps = shown_maps(page, 0, 0)[:, 0, 1] / 255
    assert len(rows) == len(words) * (len(words) + 1)
    for row, (query, key) in zip(rows, np.ndindex(len(words), len(words) + 1), strict=True):
        # The words are markup, with commas, quotes and ends of lines.
        assert (int(row[0]), row[1], row[3]) == (query, words[query], [*words, "[special]"][key])
        assert row[2] == ("" if key == len(words) else str(key))
        assert [float(value) for value in row[4:]] == pytest.approx(
            [maps[0, query, key], maps[2, query, key]], abs=6e-5
        )


@pytest.mark.slow
def test_the_lines_that_read_a_sample_do(tab: Tab, page: Page) -> None:
    tab.choose("sample", 2)
    tab.choose("layer", 2)
    tab.page.locator("#viewer details.how summary").click()
    names: dict[str, Any] = {"print": lambda _: None}
    exec(tab.page.locator("#view-python").inner_text(), names)
    assert names["maps"].sample_id.item() == page.viewer["groups"][0]["samples"][2]["sample_id"]
    assert names["run"].key.training_size == 10


@pytest.mark.slow
def test_a_figure_switches_its_variant(tab: Tab, page: Page) -> None:
    first = tab.pixels("#attention-1 .plot").tobytes()
    tab.page.select_option("#attention-1 .switch", label="js, above chance")
    tab.page.wait_for_selector("#attention-1[data-drawn='3']")
    tab.until(lambda: tab.pixels("#attention-1 .plot").tobytes() != first)
    assert tab.page.locator("#attention-1 .plot").count() == 2
    assert "0: chance, 1: identical maps" in tab.page.locator("#attention-1 .scale").inner_text()
    # The picture for paper follows.
    variants = [page.json(f"attention-1-variant-{place}")["panels"][0]["paper"] for place in (0, 3)]
    assert variants[0] != variants[1]
    shown = (
        "(svg) => new XMLSerializer().serializeToString(svg).replaceAll(' xmlns=\"http://www.w3.org/2000/svg\"', '')"
    )
    picture = tab.page.locator("#attention-1 .paper svg").first.evaluate(shown)
    assert picture == variants[1].replace("></path>", "/>").replace('xmlns="http://www.w3.org/2000/svg"', "")


@pytest.mark.slow
def test_pointing_at_a_cell_of_a_heat_map_says_its_value(tab: Tab) -> None:
    plot = tab.page.locator("#attention-1 .plot").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.5)
    tab.page.mouse.move(box["x"] + box["width"] * 0.6 + 2, box["y"] + box["height"] * 0.5)
    tip = tab.page.locator(".bk-tooltip-content, .bk-tooltip-row-value").first
    tip.wait_for()
    texts = " ".join(tab.page.locator(".bk-tooltip-row-value").all_inner_texts())
    assert re.search(r"\d\.\d{3}", texts)


@pytest.mark.slow
def test_light_and_dark_are_switched_and_paper_is_white(tab: Tab) -> None:
    def paper() -> str:
        return str(tab.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    def drawn() -> tuple[object, ...]:
        return (paper(), tab.pixels("#probes-1 .plot").tobytes(), *tab.maps())

    light = drawn()
    tab.page.click("#theme")
    tab.until(lambda: all(one != other for one, other in zip(light, drawn(), strict=True)))
    dark = drawn()
    assert dark[0] != light[0]
    tab.page.emulate_media(media="print")
    tab.until(lambda: paper() == "rgb(255, 255, 255)" and tab.maps() != list(dark[2:]))
    assert not tab.page.locator("#probes-1 .plot").first.is_visible()
    assert tab.page.locator("#probes-1 .paper svg").first.is_visible()
    tab.page.emulate_media(media="screen")
    tab.until(lambda: paper() == dark[0])
    tab.page.click("#theme")
    tab.until(lambda: paper() == light[0])
    # Not left empty by the print.
    tab.until(lambda: len(np.unique(tab.pixels("#probes-1 .plot").reshape(-1, 4), axis=0)) > 5)


@pytest.mark.slow
def test_the_catalog_is_sorted_by_its_titles(tab: Tab) -> None:
    def column(place: int) -> list[str]:
        return tab.page.locator(f"#runs tbody td:nth-child({place})").all_inner_texts()

    before = column(4)
    tab.page.locator("#runs th button", has_text="training size").click()
    sizes = [int(text.removesuffix(" %")) for text in column(4)]
    assert sizes == sorted(sizes)
    assert column(4) != before
    tab.page.locator("#runs th button", has_text="training size").click()
    assert [int(text.removesuffix(" %")) for text in column(4)] == sorted(sizes, reverse=True)
    assert tab.page.locator("#runs th[aria-sort=descending]").count() == 1


def test_without_a_result_or_a_sample_the_page_is_sound(browser: Any, bare: Path, tmp_path: Path) -> None:
    from biocache.engine import ReportRequest, write_report

    write_report(bare, tmp_path / "report.html", ReportRequest(samples=0))
    context = browser.new_context()
    context.set_default_timeout(0)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.goto((tmp_path / "report.html").as_uri())
    page.wait_for_selector("html[data-figures=drawn]")
    assert complaints == []
    context.close()
