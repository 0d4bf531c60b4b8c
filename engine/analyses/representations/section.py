"""The report section of `compare-representations`: for each result its table, heat maps and curves."""

from biocache.engine.report.section import AnalysisSection

__all__ = ["RepresentationSection"]


class RepresentationSection(AnalysisSection):
    """The figures and the table of each comparison of representations."""

    title = "Representations"
