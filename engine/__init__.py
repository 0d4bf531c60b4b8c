"""The computations: what fills a store and what is read out of it."""

from typing import TYPE_CHECKING

from biocache.store.lazy import lazy_names

if TYPE_CHECKING:
    from biocache.engine.attention.comparison import compare_attention
    from biocache.engine.attention.request import AttentionRequest
    from biocache.engine.extraction.extract import extract
    from biocache.engine.extraction.request import ExtractionRequest
    from biocache.engine.finetuning.finetune import finetune
    from biocache.engine.finetuning.request import FinetuneRequest
    from biocache.engine.probing.comparing import compare_probes
    from biocache.engine.probing.probe import probe
    from biocache.engine.probing.request import ClassifierOptions, ProbeRequest
    from biocache.engine.report.report import write_report
    from biocache.engine.report.request import Report, ReportRequest
    from biocache.engine.study.request import StudyRequest
    from biocache.engine.study.study import run_study

__all__ = [
    "AttentionRequest",
    "ClassifierOptions",
    "ExtractionRequest",
    "FinetuneRequest",
    "ProbeRequest",
    "Report",
    "ReportRequest",
    "StudyRequest",
    "compare_attention",
    "compare_probes",
    "extract",
    "finetune",
    "probe",
    "run_study",
    "write_report",
]

# Those who analyse a store must not pay for, or need, what fills one.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AttentionRequest": "attention.request",
        "ClassifierOptions": "probing.request",
        "ExtractionRequest": "extraction.request",
        "FinetuneRequest": "finetuning.request",
        "ProbeRequest": "probing.request",
        "Report": "report.request",
        "ReportRequest": "report.request",
        "StudyRequest": "study.request",
        "compare_attention": "attention.comparison",
        "compare_probes": "probing.comparing",
        "extract": "extraction.extract",
        "finetune": "finetuning.finetune",
        "probe": "probing.probe",
        "run_study": "study.study",
        "write_report": "report.report",
    },
)
