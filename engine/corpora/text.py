"""Texts with a class, a number, or no label."""

from biocache.engine.corpora.labels import settle_labels
from biocache.engine.corpora.task import Task
from biocache.engine.corpora.texts import LABEL_COLUMNS, read_texts

__all__ = ["TEXT"]

TEXT = Task(
    name="text",
    views={"text": (0,)},
    labelled="samples",
    texts=("text",),
    columns={
        "text": ("text", "sentence", "abstract", "passage", "document", "content", "question", "body", "title"),
        "label": LABEL_COLUMNS,
    },
    label_field="label",
    read=read_texts,
    settle=settle_labels,
    expected_files="train.jsonl, validation.jsonl, test.jsonl (or .csv, .tsv, .parquet)",
    no_default="task text has no default dataset; pass --dataset=FOLDER, or the id of one on the hub",
)
