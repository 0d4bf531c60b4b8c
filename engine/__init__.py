"""The computations that fill a store, and those that analyse it."""

from typing import TYPE_CHECKING

from biocache.store.lazy import lazy_names

if TYPE_CHECKING:
    from biocache.engine.analyses.attention.analysis import compare_attention
    from biocache.engine.analyses.attention.request import AttentionRequest
    from biocache.engine.analyses.heads.analysis import describe_attention
    from biocache.engine.analyses.heads.request import HeadsRequest
    from biocache.engine.analyses.probing.analysis import probe
    from biocache.engine.analyses.probing.comparison import compare_probes
    from biocache.engine.analyses.probing.request import ClassifierOptions, ProbeRequest
    from biocache.engine.analyses.representations.analysis import compare_representations
    from biocache.engine.analyses.representations.request import RepresentationRequest
    from biocache.engine.analysis import ANALYSES, Analysis, compute
    from biocache.engine.corpora.request import ReadingRequest
    from biocache.engine.executor import Executor, Task
    from biocache.engine.extraction.extract import extract
    from biocache.engine.extraction.request import ExtractionRequest
    from biocache.engine.finetuning.finetune import finetune
    from biocache.engine.finetuning.request import FinetuneRequest
    from biocache.engine.labelling.label import label
    from biocache.engine.labelling.request import LabelRequest
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
    "HeadsRequest",
    "LabelRequest",
    "ProbeRequest",
    "ReadingRequest",
    "Report",
    "ReportRequest",
    "RepresentationRequest",
    "Request",
    "RunsRequest",
    "StudyRequest",
    "Task",
    "chosen_runs",
    "compare_attention",
    "compare_probes",
    "compare_representations",
    "compute",
    "describe_attention",
    "extract",
    "finetune",
    "label",
    "option",
    "probe",
    "run_study",
    "write_report",
]

# Analysing a store must not need, or pay for, what fills it.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        name: module
        for module, names in {
            "analyses.attention.analysis": ("compare_attention",),
            "analyses.attention.request": ("AttentionRequest",),
            "analyses.heads.analysis": ("describe_attention",),
            "analyses.heads.request": ("HeadsRequest",),
            "analyses.probing.analysis": ("probe",),
            "analyses.probing.comparison": ("compare_probes",),
            "analyses.probing.request": ("ClassifierOptions", "ProbeRequest"),
            "analyses.representations.analysis": ("compare_representations",),
            "analyses.representations.request": ("RepresentationRequest",),
            "analysis": ("ANALYSES", "Analysis", "compute"),
            "corpora.request": ("ReadingRequest",),
            "executor": ("Executor", "Task"),
            "extraction.extract": ("extract",),
            "extraction.request": ("ExtractionRequest",),
            "finetuning.finetune": ("finetune",),
            "finetuning.request": ("FinetuneRequest",),
            "labelling.label": ("label",),
            "labelling.request": ("LabelRequest",),
            "report.report": ("write_report",),
            "report.request": ("Report", "ReportRequest"),
            "request": ("Request", "option"),
            "selection": ("RunsRequest", "chosen_runs"),
            "study.request": ("StudyRequest",),
            "study.study": ("run_study",),
        }.items()
        for name in names
    },
)
