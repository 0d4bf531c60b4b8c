"""Corpora in the shapes in which they are published: each is read as it is, with at most the options shown.

All texts are invented; only the shapes are those of the corpora.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from reading import in_splits, read, write

from biocache.cli.extract import extract
from biocache.engine.corpora.base import Corpus
from biocache.engine.corpora.readers import read_corpus
from biocache.engine.extraction.request import DEFAULT_SPLITS, ExtractionRequest
from biocache.engine.request import build, settings_of
from biocache.store.errors import DataError

CHEMICAL = "Naloxone\tB-Chemical\nreverses\tO\n\nIt\tO\nis\tO\nlithium\tB-Chemical\nchloride\tI-Chemical\n"
MTL = ("train", "devel", "test", "train_dev")
SETTINGS = {setting.name for setting in settings_of(ExtractionRequest)}
REAL = Path(__file__).resolve().parents[4] / "shared" / "data"


def shown(corpus: Corpus, split: str = "train") -> list[tuple[str, Any]]:
    """Return the texts of each sample, as one, and its tags or label."""
    rows = corpus.splits[split]
    return [
        (" | ".join(map(" ".join, one.texts)), " ".join(map(str, one.tags)) if one.tags else one.label) for one in rows
    ]


@pytest.mark.parametrize("kind", ["Chemical", "Disease", "GENE", "protein"])
def test_mtl_bioinformatics(tmp_path: Path, kind: str) -> None:
    """BC5CDR-chem-IOB, BC5CDR-disease-IOB, NCBI-disease-IOB, BC2GM-IOB, JNLPBA-IOB."""
    content = CHEMICAL.replace("Chemical", kind)
    corpus = read("ner", write(tmp_path / "BC5CDR-chem-IOB", in_splits("{}.tsv", content, MTL)))
    assert list(corpus.splits) == ["train", "validation", "test"]
    assert shown(corpus, "test") == [
        ("Naloxone reverses", f"B-{kind} O"),
        ("It is lithium chloride", f"O O B-{kind} I-{kind}"),
    ]
    assert corpus.remarks == ("train_dev.tsv is not read; --split-files can name it",)


def test_mtl_bioinformatics_iobes(tmp_path: Path) -> None:
    content = CHEMICAL.replace("Naloxone\tB-", "Naloxone\tS-").replace("chloride\tI-", "chloride\tE-")
    corpus = read("ner", write(tmp_path / "x", in_splits("{}.tsv", content, MTL)))
    assert shown(corpus)[1][1] == "O O B-Chemical I-Chemical"
    assert corpus.remarks[1:] == ("tags are IOBES, converted to IOB2",)


def test_biobert_ner(tmp_path: Path) -> None:
    """NERdata of BioBERT has tags without types."""
    corpus = read("ner", write(tmp_path / "x", in_splits("{}.tsv", CHEMICAL.replace("-Chemical", ""), MTL)))
    assert shown(corpus)[1][1] == "O O B-entity I-entity"
    assert corpus.remarks[1:] == ("tags have no type: it is named entity",)


def test_jnlpba_as_shared(tmp_path: Path) -> None:
    content = "###MEDLINE:95369245\n\nIL-2\tB-DNA\ngene\tI-DNA\nbinds\tO\n\n###MEDLINE:95333264\n\nX\tO\n\n"
    folder = write(tmp_path / "x", {"Genia4ERtask1.iob2": content, "Genia4EReval1.iob2": content})
    corpus = read("ner", folder, split_files=["train=Genia4ERtask1.iob2", "test=Genia4EReval1.iob2"])
    assert shown(corpus, "test") == [("IL-2 gene binds", "B-DNA I-DNA O"), ("X", "O")]
    assert [one.group for one in corpus.splits["train"]] == ["MEDLINE:95369245", "MEDLINE:95333264"]


@pytest.mark.parametrize("separator", ["\t", " "])
def test_scibert_ner(tmp_path: Path, separator: str) -> None:
    content = "-DOCSTART- -X- -X- O\n\nNaloxone NN O B-Chemical\nreverses VBZ O O\n\nIt PRP O O\n".replace(
        " ", separator
    )
    corpus = read("ner", write(tmp_path / "bc5cdr", in_splits("{}.txt", content)))
    assert shown(corpus, "validation") == [("Naloxone reverses", "B-Chemical O"), ("It", "O")]
    assert corpus.splits["test"][0].group == "test-1"
    assert corpus.remarks == ("read words and tags from columns 1, 4",)


def test_ebm_pico(tmp_path: Path) -> None:
    """EBM-NLP in SciBERT's data and in BLURB has IO tags."""
    content = "-DOCSTART- -X- O O\n\nadults NNS O I-PAR\nwith IN O I-PAR\naspirin NN O I-INT\n\npain NN O I-OUT\n"
    corpus = read("ner", write(tmp_path / "ebmnlp", in_splits("{}.txt", content)))
    assert shown(corpus) == [("adults with aspirin", "B-PAR I-PAR B-INT"), ("pain", "B-OUT")]
    assert corpus.remarks[-1] == "tags are IO, converted to IOB2"
    bare = content.replace("I-", "")
    corpus = read("ner", write(tmp_path / "bare", in_splits("{}.txt", bare + "\nx x O O\n")))
    assert shown(corpus)[0][1] == "B-PAR I-PAR B-INT"


def test_run_ner_and_linkbert(tmp_path: Path) -> None:
    lines = [
        {"id": "0", "tokens": ["IL-2", "gene"], "ner_tags": ["B", "I"]},
        {"id": "1", "tokens": ["x"], "ner_tags": ["O"]},
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    corpus = read("ner", write(tmp_path / "x", in_splits("{}.json", content)))
    assert shown(corpus) == [("IL-2 gene", "B-entity I-entity"), ("x", "O")]
    assert [one.id for one in corpus.splits["train"]] == ["0", "1"]
    numbers = content.replace('"B"', "1").replace('"I"', "2").replace('"O"', "0")
    folder = write(tmp_path / "y", in_splits("{}.json", numbers) | {"labels.txt": "O\nB-DNA\nI-DNA\n"})
    assert shown(read("ner", folder)) == [("IL-2 gene", "B-DNA I-DNA"), ("x", "O")]


def tsv(*rows: str) -> str:
    """Write rows of cells, given with a bar between them."""
    return "".join("\t".join(row.split("|")) + "\n" for row in rows)


INDEX = "index|sentence|label"
BLUE = {
    "chemprot": (tsv(INDEX, "1.T1.T2|@CHEMICAL$ inhibits @GENE$ .|CPR:4", "2|No .|false"), ["CPR:4", "false"]),
    "ddi": (tsv(INDEX, "D.d0.s0.p0|@DRUG$ and @DRUG$|DDI-int", 'x|No "quote .|DDI-false'), ["DDI-int", "DDI-false"]),
    "gad": (tsv(INDEX, "0|@GENE$ causes @DISEASE$|1", "1|No .|0"), ["1", "0"]),
    "hoc": (tsv("index|labels|sentence", "1_s0|0_0,1_1|It grows .", "1_s1|0_0,1_0|No ."), ["0_0,1_1", "0_0,1_0"]),
}


@pytest.mark.parametrize("name", BLUE)
def test_blue_texts(tmp_path: Path, name: str) -> None:
    content, labels = BLUE[name]
    corpus = read("text", write(tmp_path / name, in_splits("{}.tsv", content)))
    assert [label for _, label in shown(corpus, "validation")] == labels
    assert shown(corpus)[1][0].startswith("No ")
    assert corpus.splits["test"][0].id == content.splitlines()[1].split("\t")[0]


def test_gad_of_biobert(tmp_path: Path) -> None:
    """The train file has no header, and the test file has one."""
    files = {
        "train.tsv": "this study says that @GENE$ causes @DISEASE$ .\t1\nit does not\t0\n",
        "test.tsv": "index\tsentence\tlabel\n0\t@GENE$ causes @DISEASE$ .\t1\n",
    }
    corpus = read("text", write(tmp_path / "1", files))
    assert shown(corpus) == [("this study says that @GENE$ causes @DISEASE$ .", "1"), ("it does not", "0")]
    assert shown(corpus, "test") == [("@GENE$ causes @DISEASE$ .", "1")]
    assert "train: read text and label from columns 1, 2" in corpus.remarks


def test_biosses(tmp_path: Path) -> None:
    header = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
    rows = "0\tx\ty\t2017\t1\ta\tb\tCells grow .\tThey do .\t3.8\n1\tx\ty\t2017\t2\ta\tb\tNo .\tYes .\t0\n"
    corpus = read("nli", write(tmp_path / "biosses", in_splits("{}.tsv", header + rows)))
    assert shown(corpus) == [("Cells grow . | They do .", 3.8), ("No . | Yes .", 0.0)]
    assert corpus.remarks[0] == "read premise, hypothesis and label from sentence1, sentence2, score"


def test_chemprot_of_scibert(tmp_path: Path) -> None:
    content = json.dumps({"text": "<< A >> inhibits [[ B ]] .", "label": "INHIBITOR", "metadata": []}) + "\n"
    corpus = read("text", write(tmp_path / "chemprot", in_splits("{}.txt", content)))
    assert shown(corpus, "validation") == [("<< A >> inhibits [[ B ]] .", "INHIBITOR")]


def test_pubmedqa(tmp_path: Path) -> None:
    record = {
        "QUESTION": "Do cells grow?",
        "CONTEXTS": ["They were seen.", "They grew."],
        "LABELS": ["METHODS", "RESULTS"],
        "MESHES": ["Cells"],
        "YEAR": "2011",
        "reasoning_required_pred": "yes",
        "final_decision": "yes",
        "LONG_ANSWER": "They do.",
    }
    content = json.dumps({"21645374": record, "16418930": record | {"final_decision": "maybe"}}, indent=4)
    files = {f"{name}_set.json": content for name in ("train", "dev", "test")} | {"ori_pqaa.json": content}
    corpus = read("nli", write(tmp_path / "pqal_fold0", files))
    assert shown(corpus) == [
        ("Do cells grow? | They were seen. They grew.", "yes"),
        ("Do cells grow? | They were seen. They grew.", "maybe"),
    ]
    assert [one.id for one in corpus.splits["test"]] == ["21645374", "16418930"]
    assert corpus.remarks[0] == "ori_pqaa.json is not read; --split-files can name it"
    assert corpus.remarks[1] == "read premise, hypothesis and label from QUESTION, CONTEXTS, final_decision"


def test_bioasq(tmp_path: Path) -> None:
    snippets = [{"text": "It is."}, {"text": "So."}]
    questions = [
        {"body": "Is it?", "type": "yesno", "exact_answer": "yes", "id": "5a", "snippets": snippets},
        {"body": "Which?", "type": "factoid", "exact_answer": [["A", "B"]], "id": "5b", "snippets": snippets},
        {"body": "Why?", "type": "summary", "ideal_answer": ["x"], "id": "5c", "snippets": snippets},
    ]
    content = json.dumps({"questions": questions}, indent=1)
    folder = write(tmp_path / "BioASQ-training7b", {"trainining7b.json": content, "7B1_golden.json": content})
    named = ["train=trainining7b.json", "test=7B1_golden.json"]
    corpus = read("nli", folder, split_files=named)
    assert shown(corpus) == [("Is it? | It is. So.", "yes")]
    assert [one.id for one in corpus.splits["test"]] == ["5a"]
    assert corpus.notes["train"] == {"other_questions": 2}


def test_bioasq_and_pubmedqa_of_linkbert(tmp_path: Path) -> None:
    line = {"id": "x0", "sentence1": "Is it?", "sentence2": "It is.", "label": "yes"}
    corpus = read(
        "nli",
        write(tmp_path / "bioasq_hf", in_splits("{}.json", json.dumps(line) + "\n" + json.dumps(line | {"id": "x1"}))),
    )
    assert shown(corpus) == [("Is it? | It is.", "yes")] * 2


def test_snli_as_shared(tmp_path: Path) -> None:
    line = {
        "annotator_labels": ["neutral"],
        "captionID": "4.jpg#4",
        "gold_label": "neutral",
        "pairID": "4.jpg#4r1n",
        "sentence1": "A man rides.",
        "sentence1_binary_parse": "( A man )",
        "sentence1_parse": "(ROOT)",
        "sentence2": "He is outside.",
        "sentence2_binary_parse": "( He )",
        "sentence2_parse": "(ROOT)",
    }
    lines = [line, line | {"gold_label": "-", "pairID": "4.jpg#4r1c"}]
    table = "gold_label\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1\tsentence2\n-\t( A )\t( B )\tA\tB\n"
    files = in_splits("snli_1.0_{}.jsonl", "".join(json.dumps(one) + "\n" for one in lines))
    corpus = read(
        "nli", write(tmp_path / "snli_1.0", files | in_splits("snli_1.0_{}.txt", table) | {"README.txt": "x"})
    )
    assert shown(corpus) == [("A man rides. | He is outside.", "neutral"), ("A man rides. | He is outside.", None)]
    assert [(one.id, one.group) for one in corpus.splits["test"]] == [
        ("4.jpg#4r1n", "4.jpg#4"),
        ("4.jpg#4r1c", "4.jpg#4"),
    ]
    only = write(tmp_path / "txt", in_splits("snli_1.0_{}.txt", table))
    assert shown(read("nli", only)) == [("A | B", None)]


def test_mnli_of_glue(tmp_path: Path) -> None:
    parses = "sentence1_binary_parse|sentence2_binary_parse|sentence1_parse|sentence2_parse"
    header = tsv(f"index|promptID|pairID|genre|{parses}|sentence1|sentence2|label1|gold_label")
    row = '0\t31193\t31193n\tgov\t( )\t( )\t(R)\t(R)\t"He" said "so.\tHe spoke.\tneutral\tneutral\n'
    hidden = "\t".join(header.split("\t")[:10]) + "\n" + "\t".join(row.split("\t")[:10]) + "\n"
    files = in_splits("{}.tsv", header + row, ("train", "dev_matched", "dev_mismatched")) | {
        "test_matched.tsv": hidden,
        "diagnostic.tsv": hidden,
    }
    corpus = read("nli", write(tmp_path / "MNLI", files), split_files=["validation=dev_matched.tsv"])
    assert shown(corpus, "validation") == [('"He" said "so. | He spoke.', "neutral")]
    assert shown(corpus, "test") == [('"He" said "so. | He spoke.', None)]
    assert (corpus.splits["train"][0].id, corpus.splits["train"][0].group) == ("31193n", "31193")
    assert corpus.remarks[0] == "dev_mismatched.tsv, diagnostic.tsv are not read; --split-files can name it"
    assert any("quotation marks are part of the text" in remark for remark in corpus.remarks)


def test_sick(tmp_path: Path) -> None:
    header = "pair_ID|sentence_A|sentence_B|relatedness_score|entailment_judgment"
    content = tsv(header, "1|A man runs|A man moves|4.5|ENTAILMENT")
    folder = write(
        tmp_path / "SICK", {"SICK_train.txt": content, "SICK_trial.txt": content, "SICK_test_annotated.txt": content}
    )
    corpus = read("nli", folder, split_files=["validation=SICK_trial.txt"])
    assert shown(corpus, "validation") == [("A man runs | A man moves", "ENTAILMENT")]
    assert corpus.remarks == ("read premise, hypothesis and label from sentence_A, sentence_B, entailment_judgment",)
    corpus = read("nli", folder, label_column="relatedness_score")
    assert shown(corpus) == [("A man runs | A man moves", 4.5)]
    assert corpus.remarks[0] == "SICK_trial.txt is not read; --split-files can name it"


@pytest.mark.parametrize(
    "content",
    [
        "A mass moves in space\tThe mass moves\tentails\nCells grow slowly here\tThey stop\tneutral\n",
        json.dumps({"sentence1": "A mass moves in space", "sentence2": "The mass moves", "gold_label": "entails"})
        + "\n",
    ],
)
def test_scitail(tmp_path: Path, content: str) -> None:
    folder = write(
        tmp_path / "x",
        {f"scitail_1.0_{name}.{'tsv' if chr(9) in content else 'txt'}": content for name in ("train", "dev", "test")},
    )
    assert shown(read("nli", folder))[0] == ("A mass moves in space | The mass moves", "entails")


def test_rte_of_glue(tmp_path: Path) -> None:
    content = "index\tsentence1\tsentence2\tlabel\n0\tIt is.\tIt was.\tnot_entailment\n"
    corpus = read("nli", write(tmp_path / "RTE", in_splits("{}.tsv", content)))
    assert (shown(corpus), corpus.remarks) == ([("It is. | It was.", "not_entailment")], ())


def test_pubmed_rct(tmp_path: Path) -> None:
    content = '###24293578\nOBJECTIVE\tTo see "growth" .\nMETHODS\t" Open label .\n\n###24854809\nRESULTS\tIt grew .\n'
    corpus = read("text", write(tmp_path / "PubMed_20k_RCT", in_splits("{}.txt", content)))
    assert shown(corpus) == [
        ('To see "growth" .', "OBJECTIVE"),
        ('" Open label .', "METHODS"),
        ("It grew .", "RESULTS"),
    ]
    assert [one.group for one in corpus.splits["train"]] == ["24293578", "24293578", "24854809"]
    assert corpus.remarks[-1] == "read text and label from columns 2, 1"


def test_texts_without_labels(tmp_path: Path) -> None:
    corpus = read("text", write(tmp_path / "x", {"train.txt": "Cells grow .\n\nThey stop .\n"}))
    assert shown(corpus) == [("Cells grow .", None), ("They stop .", None)]
    assert corpus.remarks == (
        "no column of labels (it has 1 without names, numbered from 1); --label-column can name one",
    )


def test_run_glue_csv(tmp_path: Path) -> None:
    content = 'sentence1,sentence2,label\n"He said ""so"", twice.","Two\nlines.",1\n"a;b",c,0\n'
    corpus = read("nli", write(tmp_path / "x", in_splits("{}.csv", content)))
    assert shown(corpus) == [('He said "so", twice. | Two lines.', "1"), ("a;b | c", "0")]


def test_an_unknown_header_is_no_sample(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"train.csv": "links,rechts,Urteil\nZellen wachsen .,Ja .,ja\nJa,Nein,nein\n"})
    with pytest.raises(DataError, match=r"train.csv:1: no column of premise .*\(it has links, rechts, Urteil\);"):
        read("nli", folder)
    assert shown(read("nli", folder, pair_columns=["1", "2"], label_column="3"))[1] == ("Ja | Nein", "nein")
    folder = write(tmp_path / "y", {"train.csv": "Ja,ja\nZellen wachsen .,nein\n1,ja\n"})
    assert shown(read("text", folder, text_column="1", label_column="2"))[0] == ("Zellen wachsen .", "nein")
    folder = write(tmp_path / "z", {"train.txt": "Titel\nZellen wachsen .\nSie wachsen .\n"})
    assert [text for text, _ in shown(read("text", folder))] == ["Titel", "Zellen wachsen .", "Sie wachsen ."]


def test_options_name_what_no_table_knows(tmp_path: Path) -> None:
    content = "ref,links,rechts,Urteil,Quelle\n7,Zellen wachsen .,Sie wachsen .,ja,q1\n"
    folder = write(tmp_path / "x", in_splits("{}.csv", content))
    settings: Mapping[str, Sequence[str] | str] = {
        "pair_columns": ["links", "rechts"],
        "label_column": "urteil",
        "id_column": "1",
        "group_column": "Quelle",
    }
    corpus = read("nli", folder, **settings)
    (one,) = corpus.splits["train"]
    assert (shown(corpus), one.id, one.group) == ([("Zellen wachsen . | Sie wachsen .", "ja")], "7", "q1")
    assert corpus.remarks == ()
    assert shown(read("text", folder, text_column="rechts", label_column="4")) == [("Sie wachsen .", "ja")]


TAGGED = in_splits("{}.tsv", CHEMICAL, MTL)
QUESTIONS = {"1": {"QUESTION": "Is it?", "CONTEXTS": ["It is."], "LABELS": ["A"], "final_decision": "yes"}}
QUESTION = {"body": "Is it?", "type": "yesno", "exact_answer": "yes", "id": "5", "snippets": [{"text": "It is."}]}
PARSED = "###MEDLINE:95369245\n\nIL-2\tB-DNA\ngene\tI-DNA\n"
GLUE = tsv("index|sentence1|sentence2|gold_label", "0|It is.|It was.|neutral")
RELATED = tsv("pair_ID|sentence_A|sentence_B|relatedness_score|entailment_judgment", "1|a|b|4.5|ENTAILMENT")
UD = "1\tvin\t_\tNOUN\t_\t_\t_\t_\t_\t_\n\n"

#: A row of the README to the files of a small corpus in the shape that it names.
SHAPES: dict[str, dict[str, str | bytes]] = {
    "BC5-chem, BC5-disease, NCBI-disease, BC2GM, JNLPBA": TAGGED,
    "EBM PICO": in_splits("{}.txt", "-DOCSTART- -X- O O\n\nadults NNS O I-PAR\n"),
    "ChemProt, DDI, GAD": in_splits("{}.tsv", BLUE["gad"][0]),
    "HoC": in_splits("{}.tsv", BLUE["hoc"][0]),
    "BIOSSES": in_splits("{}.tsv", tsv("index|sentence1|sentence2|score", "0|a|b|2.6")),
    "PubMedQA": in_splits("{}_set.json", json.dumps(QUESTIONS)),
    "BioASQ": dict.fromkeys(("trainining7b.json", "7B1_golden.json"), json.dumps({"questions": [QUESTION]})),
    "JNLPBA": dict.fromkeys(("Genia4ERtask1.iob2", "Genia4EReval1.iob2"), PARSED),
    "MNLI": in_splits("{}.tsv", GLUE, ("train", "dev_matched", "dev_mismatched", "test_matched")),
    "SICK, with its numbers": dict.fromkeys(("SICK_train.txt", "SICK_trial.txt", "SICK_test_annotated.txt"), RELATED),
    "PubMed RCT": in_splits("{}.txt", "###24293578\nOBJECTIVE\tTo see .\n"),
    "Universal Dependencies": in_splits("fr_x-ud-{}.conllu", UD),
}


def test_the_commands_of_the_readme_read_what_they_name(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| `(--task [^`]+)` \|$", text, flags=re.MULTILINE)
    assert [name for name, _ in rows] == list(SHAPES)
    for name, options in rows:
        folder = write(tmp_path / re.sub(r"\W+", "-", name), SHAPES[name])
        command = extract.make_context("extract", shlex.split(options.replace("FOLDER", str(folder))))
        request = build(ExtractionRequest, {k: v for k, v in command.params.items() if k in SETTINGS})
        corpus = read_corpus(request.task, request.dataset, usual_splits=DEFAULT_SPLITS, reading=request.reading)
        assert list(corpus.splits) == ["train", "test"], name
        assert all(one.tags or one.label is not None for part in corpus.splits.values() for one in part), name


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the real corpora are not beside this checkout")
def test_real_corpora() -> None:
    corpus = read("ner", REAL / "jnlpba")
    counts = {split: (len(own), sum(len(one.texts[0]) for one in own)) for split, own in corpus.splits.items()}
    assert counts == {"train": (16_807, 445_090), "validation": (1_739, 47_461), "test": (3_856, 101_039)}
    assert (corpus.remarks, sum("repaired_tags" in notes for notes in corpus.notes.values())) == ((), 0)
    corpus = read("nli", REAL / "nli")
    assert [len(samples) for samples in corpus.splits.values()] == [2_309, 490, 474]
    assert (corpus.remarks, corpus.notes) == ((), {})
