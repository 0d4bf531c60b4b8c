"""Sentences like those of molecular biology abstracts, with the types of their entities."""

# ruff: noqa: RUF001 - Greek letters are part of the names.

import random

from biocache.engine.demo.grammar import Rules, Tagged, fill

__all__ = ["sentence"]

# A gene, its transcript and its protein share one name: which is meant follows from the words around it, before or
# after the name, adjacent or some words away.
_RULES: Rules = {
    "gene": (
        "IL-2", "IL-4", "IL-6", "IL-10", "IL-12", "TNF-α", "IFN-γ", "TGF-β1", "GM-CSF", "p53", "p21", "p27", "c-Myc",
        "c-Fos", "c-Jun", "c-Rel", "GATA-1", "GATA-3", "CD4", "CD28", "CD40", "CD69", "STAT1", "STAT5", "STAT6",
        "RUNX1", "BCL2", "BCL6", "PU.1", "EGR1", "IRF4", "IRF7", "CREB1", "NFAT1", "TP73", "MYB", "VEGFA", "CCR5",
        "CXCR4", "HLA-DRA", "FOXP3", "PAX5", "JAK2", "LMO2", "TAL1", "MCL1", "SOCS3", "E2F1", "CDK4", "RARA",
    ),
    "complex": (
        "NF-kappa B", "AP-1", "protein kinase C", "RNA polymerase II", "I kappa B α", "glucocorticoid receptor",
        "cyclin D1", "calcineurin", "the T cell receptor",
    ),
    "element": ("gene", "promoter", "locus", "enhancer", "binding site", "5'-flanking region"),
    "message": ("mRNA", "transcript", "mRNA", "antisense RNA"),
    "lineage": ("T", "B", "CD4+ T", "CD8+ T", "natural killer", "erythroid", "myeloid", "endothelial", "dendritic"),
    "leukocytes": ("monocytes", "macrophages", "thymocytes", "neutrophils", "platelets", "lymphocytes"),
    "line": ("Jurkat", "HL-60", "K562", "U937", "HeLa", "THP-1", "Raji", "COS-7", "MOLT-4", "Daudi"),
    "protein": (
        "[protein {gene}]", "[protein {gene}]", "[protein {gene}]", "[protein {complex}]", "[protein {gene} receptor]",
        "[protein {gene} protein]",
    ),
    "DNA": ("[DNA {gene} {element}]", "[DNA {gene} {element}]", "[DNA {gene} {element}]", "[DNA distal enhancer]"),
    "RNA": ("[RNA {gene} {message}]", "[RNA {gene} {message}]", "[RNA miR-155]", "[RNA 18S rRNA]"),
    "cell_type": (
        "[cell_type {lineage} cells]", "[cell_type {lineage} cells]", "[cell_type human {leukocytes}]",
        "[cell_type {leukocytes}]", "[cell_type peripheral blood {leukocytes}]", "[cell_type {lineage} progenitors]",
    ),
    "cell_line": (
        "[cell_line {line}]", "[cell_line {line} cells]", "[cell_line {line} cells]", "[cell_line {lineage} cell line]",
        "[cell_line {lineage} cell clones]",
    ),
    # One name, disambiguated by the words before it, after it, or both.
    "bare": (
        "transcription of [DNA {gene}]", "methylation of [DNA {gene}]", "a deletion in [DNA {gene}]",
        "translation of [RNA {gene}]", "splicing of [RNA {gene}]", "the half-life of [RNA {gene}]",
        "phosphorylation of [protein {gene}]", "degradation of [protein {gene}]", "secretion of [protein {gene}]",
    ),
    "fate": (
        "[DNA {gene}] was transcribed", "[DNA {gene}] was methylated", "[DNA {gene}] was deleted",
        "[RNA {gene}] was spliced", "[RNA {gene}] was translated", "[RNA {gene}] was polyadenylated",
        "[protein {gene}] was phosphorylated", "[protein {gene}] was secreted", "[protein {gene}] was degraded",
    ),
    "binds": ("binds", "stabilizes", "phosphorylates", "inhibits", "recruits", "interacts with"),
    "induced": ("induced", "reduced", "blocked", "enhanced", "doubled", "abolished"),
    "agent": ("phorbol ester", "dexamethasone", "cyclosporin A", "LPS", "retinoic acid", "1,25-dihydroxyvitamin D3"),
    "percent": ("12", "27.5", "40", "63", "85", "3.4"),
    "hours": ("2", "6", "12", "24", "48"),
    "dose": ("10 nM", "50 ng/ml", "1 μM", "100 U/ml"),
    "disease": ("acute leukemia", "asthma", "rheumatoid arthritis", "chronic infection", "sepsis"),
    "short": (
        "{protein} {binds} {protein}", "{cell_type} express {protein}", "{RNA} was absent from {cell_line}",
        "no {protein} was found", "{protein} {binds} the {DNA}", "we cloned the {DNA} from {cell_type}",
        "{fate} in {cell_type}", "{agent} {induced} {bare}", "{fate} but [protein {gene}] was not degraded",
    ),
    "clause": (
        "{protein} {binds} {protein} and thereby activates the {DNA}",
        "treatment with {agent} {induced} the level of {RNA} by {percent} % in {cell_type}",
        "{agent} ( {dose} ) {induced} the expression of {protein} in {cell_line}",
        "the {DNA} is occupied by {protein} in {cell_type} but not in {cell_line}",
        "{cell_type} from patients with {disease} contain more {RNA} than healthy {cell_type}",
        "a mutation of the {DNA} {induced} the response of {cell_line} to {agent}",
        "{protein} and {protein} compete for the {DNA}",
        "{RNA} was detected in {percent} % of {cell_type} after {hours} h",
        "antibodies against {protein} {induced} the growth of {cell_line}",
        "overexpression of {protein} in {cell_line} {induced} {bare}",
        "{agent} {induced} {bare} and {bare} in {cell_line}",
        "in {cell_type} {bare} requires {bare}",
        "{fate} {hours} h before {fate}",
        "{fate} in {cell_line} treated with {agent}",
        "{bare} was {percent} % higher in {cell_type} than in {cell_line}",
    ),
    "opening": (
        "these results suggest that", "as shown by gel-shift assays ,", "in contrast to earlier reports ,",
        "after {hours} h with {agent} ,", "in {cell_type} ,", "although {protein} is present ,", "here we show that",
        "consistent with a role in {disease} ,",
    ),
    "joint": (", whereas", "and", "; moreover ,", ", which may explain why", ", and in turn", "because"),
}  # fmt: skip

_TEMPLATES = (
    *("{short} .",) * 4,
    *("{clause} .",) * 5,
    *("{opening} {clause} .",) * 2,
    "{clause} {joint} {clause} .",
)
_MOST_WORDS = 45


def sentence(choices: random.Random) -> Tagged:
    """Make a sentence of at most 45 words, with its entities."""
    while True:
        made = fill(choices, choices.choice(_TEMPLATES), _RULES)
        if len(made) <= _MOST_WORDS:
            return made
