"""The page on paper: every figure is drawn and whole, from the browser's print and from a print without waiting."""

import re
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pdfium = pytest.importorskip("pypdfium2", reason="pypdfium2 is not installed: pip install pypdfium2")

PATH, IMAGE = 2, 3
# Points of a pixel of the page.
POINTS = 0.75
# Points below a caption of the viewer in which its map is.
MAP = 200


class Pictures(HTMLParser):
    """The figures of a page: titles, and for each panel its heading, and its picture's paths and size."""

    def __init__(self, page: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.titles: list[str] = []
        self.panels: list[tuple[str, int, float, float]] = []
        self._heading: str | None = None
        self._inside = self._paper = False
        self._text = ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "article":
            self._inside, self._paper = found.get("class") == "figure", False
        elif found.get("class") == "paper":
            self._paper = True
        elif tag in ("h3", "h4"):
            self._text = ""
        elif tag == "svg" and self._paper:
            width, height = (float(found[name] or 0) for name in ("width", "height"))
            self.panels.append((self._heading or "", 0, width, height))
        elif tag == "path" and self._paper and self.panels:
            heading, count, *size = self.panels[-1]
            self.panels[-1] = (heading, count + 1, size[0], size[1])

    def handle_endtag(self, tag: str) -> None:
        if tag == "h3" and self._inside:
            self.titles.append(self._text)
        elif tag == "h4":
            self._heading = self._text
        elif tag in ("details", "article"):
            self._paper = False

    def handle_data(self, data: str) -> None:
        self._text += data


class Sheet:
    """A page of the PDF: its text without spaces, and where it is; its paths and its images."""

    def __init__(self, page: Any) -> None:
        self.page, self.size = page, page.get_size()
        self._text = page.get_textpage()
        letters = [(letter, place) for place, letter in enumerate(self._text.get_text_range()) if not letter.isspace()]
        self.text = "".join(letter for letter, _ in letters)
        self._places = [place for _, place in letters]
        objects = [(found.type, found.get_bounds()) for found in page.get_objects(max_depth=9)]
        self.paths = [bounds for kind, bounds in objects if kind == PATH]
        self.images = [bounds for kind, bounds in objects if kind == IMAGE]

    def boxes(self, text: str) -> Iterator[tuple[float, float, float, float]]:
        """Yield the boxes of the first letter of each occurrence: left, bottom, right, top."""
        for found in re.finditer(re.escape("".join(text.split())), self.text):
            yield self._text.get_charbox(self._places[found.start()])

    def drawn(self, box: tuple[float, float, float, float], width: float, height: float) -> int:
        """Return how many paths are wholly in the place of a picture below its heading."""
        left, bottom, *_ = box
        limits = (left - 4, bottom - (height + 24) * POINTS, left + width * POINTS + 4, bottom)
        return sum(
            limits[0] <= own[0] and limits[1] <= own[1] and own[2] <= limits[2] and own[3] <= limits[3]
            for own in self.paths
        )

    def colors(self, box: tuple[float, float, float, float]) -> int:
        """Return the number of colours below a caption that are of no grey."""
        pixels = np.asarray(self.page.render(scale=1).to_pil()).astype(int)
        top, left = int(self.size[1] - box[1]), int(box[0])
        part = pixels[top : top + MAP, left : left + MAP, :3].reshape(-1, 3)
        return len(np.unique(part[np.ptp(part, axis=1) > 12], axis=0))


def print_at_once(chromium: str, page: Path, made: Path) -> None:
    """Print as a command that waits for nothing but the page itself."""
    options = ("--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-pdf-header-footer")
    arguments = (chromium, *options, f"--user-data-dir={made.parent / 'profile'}", f"--print-to-pdf={made}")
    subprocess.run([*arguments, page.as_uri()], check=True, capture_output=True, timeout=300)


def print_when_drawn(chromium: str, page: Path, made: Path) -> None:
    """Print as a reader does, on A4, from a dark and narrow window in which everything is drawn."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        tab = browser.new_context(viewport={"width": 500, "height": 800}, color_scheme="dark").new_page()
        tab.set_default_timeout(0)
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-figures=drawn]")
        tab.wait_for_selector("#viewer[data-shown]")
        tab.pdf(path=made, format="A4")
        browser.close()


@pytest.mark.slow
@pytest.mark.parametrize("printed", [print_at_once, print_when_drawn])
def test_every_figure_is_on_paper_drawn_and_whole(chromium: str, written: Path, tmp_path: Path, printed: Any) -> None:
    printed(chromium, written, tmp_path / "page.pdf")
    document = pdfium.PdfDocument(tmp_path / "page.pdf")
    sheets = [Sheet(page) for page in document]
    pictures = Pictures(written)
    assert len(pictures.titles) == 5
    for title in pictures.titles:
        assert any("".join(title.split()) in sheet.text for sheet in sheets), title
    # Of both probes (one with a control), both comparisons at two sizes, and fine-tuning.
    assert len(pictures.panels) == 3 + 1 + 2 + 2 + 1
    places = []
    for heading, paths, width, height in pictures.panels:
        assert paths > 0
        whole = [
            (number, box)
            for number, sheet in enumerate(sheets)
            for box in sheet.boxes(heading)
            if sheet.drawn(box, width, height) == paths
        ]
        assert whole, f"{heading} is not drawn whole"
        places.append(next((place for place in whole if place not in places), None))
    # Each picture has a place of its own.
    assert None not in places
    for sheet in sheets:
        for left, bottom, right, top in (*sheet.paths, *sheet.images):
            assert left >= 0
            assert bottom >= 0
            assert (right, top) <= sheet.size or (right <= sheet.size[0] + 1 and top <= sheet.size[1] + 1)
    # Both maps of the viewer, which the browser prints as paths or as images.
    for caption in ("bert at 0 %, pre-trained", "bert at 10 %"):
        ((sheet, box),) = [(sheet, box) for sheet in sheets for box in sheet.boxes(caption) if sheet.colors(box) > 5]
        assert box[1] > MAP
    # Paper is white.
    corners = [np.asarray(sheet.page.render(scale=0.5).to_pil())[0, 0, :3].tolist() for sheet in sheets]
    assert corners == [[255, 255, 255]] * len(sheets)
    document.close()
