"""The computations: what fills a store and what is read out of it."""

from typing import TYPE_CHECKING

from biocache.store.lazy import lazy_names

if TYPE_CHECKING:
    from biocache.engine.analyses.attention.comparison import compare_attention
    from biocache.engine.analyses.attention.request import AttentionRequest
    from biocache.engine.analyses.probing.analysis import compare_probes, probe
    from biocache.engine.analyses.probing.request import ClassifierOptions, ProbeRequest
    from biocache.engine.analysis import ANALYSES, Analysis, compute
    from biocache.engine.executor import Executor, Task
    from biocache.engine.extraction.extract import extract
    from biocache.engine.extraction.request import ExtractionRequest
    from biocache.engine.finetuning.finetune import finetune
    from biocache.engine.finetuning.request import FinetuneRequest
    from biocache.engine.report.report import write_report
    from biocache.engine.report.request import Report, ReportRequest
    from biocache.engine.request import Request, option
    from biocache.engine.selection import RunsRequest, chosen_runs
    from biocache.engine.study.request import StudyRequest
    from biocache.engine.study.study import run_study

__all__ = [
    "ANALYSES",
    "Analysis",
    "AttentionRequest",
    "ClassifierOptions",
    "Executor",
    "ExtractionRequest",
    "FinetuneRequest",
    "ProbeRequest",
    "Report",
    "ReportRequest",
    "Request",
    "RunsRequest",
    "StudyRequest",
    "Task",
    "chosen_runs",
    "compare_attention",
    "compare_probes",
    "compute",
    "extract",
    "finetune",
    "option",
    "probe",
    "run_study",
    "write_report",
]

# Those who analyse a store must not pay for, or need, what fills one.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ANALYSES": "analysis",
        "Analysis": "analysis",
        "AttentionRequest": "analyses.attention.request",
        "ClassifierOptions": "analyses.probing.request",
        "Executor": "executor",
        "ExtractionRequest": "extraction.request",
        "FinetuneRequest": "finetuning.request",
        "ProbeRequest": "analyses.probing.request",
        "Report": "report.request",
        "ReportRequest": "report.request",
        "Request": "request",
        "RunsRequest": "selection",
        "StudyRequest": "study.request",
        "Task": "executor",
        "chosen_runs": "selection",
        "compare_attention": "analyses.attention.comparison",
        "compare_probes": "analyses.probing.analysis",
        "compute": "analysis",
        "extract": "extraction.extract",
        "finetune": "finetuning.finetune",
        "option": "request",
        "probe": "analyses.probing.analysis",
        "run_study": "study.study",
        "write_report": "report.report",
    },
)
