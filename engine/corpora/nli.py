"""Pairs of texts with a class, such as natural language inference, or with a number, such as similarity."""

from biocache.engine.corpora.labels import settle_labels
from biocache.engine.corpora.task import Task
from biocache.engine.corpora.texts import LABEL_COLUMNS, read_texts

__all__ = ["NLI"]

# Columns of pairs: the first and the second text, of the likeliest corpora first.
_PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("sentencea", "sentenceb"),
    ("text1", "text2"),
    ("texta", "textb"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "context"),
    ("question", "contexts"),
    ("body", "snippets"),
    ("question", "passage"),
    ("question", "abstract"),
    ("evidence", "claim"),
    ("query", "passage"),
    ("query", "document"),
)

NLI = Task(
    name="nli",
    views={"premise": (0,), "hypothesis": (1,), "pair": (0, 1)},
    labelled="samples",
    texts=("premise", "hypothesis"),
    columns={
        "premise": tuple(first for first, _ in _PAIRS),
        "hypothesis": tuple(second for _, second in _PAIRS),
        "label": LABEL_COLUMNS,
    },
    label_field="label",
    read=read_texts,
    settle=settle_labels,
    expected_files="train.jsonl, validation.jsonl, test.jsonl (or MedNLI's mli_{train,dev,test}_v1.jsonl, "
    "or SNLI's snli_1.0_{train,dev,test}.jsonl)",
    no_default="MedNLI, the default dataset of nli, cannot be downloaded freely: PhysioNet gives it to credentialed "
    "accounts (https://physionet.org/content/mednli/); get it there and pass --dataset=FOLDER "
    "holding mli_train_v1.jsonl, mli_dev_v1.jsonl and mli_test_v1.jsonl",
)
