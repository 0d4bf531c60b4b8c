"""The report section of `describe-attention`: for each result its table and heat maps."""

from biocache.engine.report.section import AnalysisSection

__all__ = ["HeadsSection"]


class HeadsSection(AnalysisSection):
    """The figures and the table of each description of attention heads."""

    title = "Attention heads"
