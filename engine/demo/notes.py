"""Clinical notes: a premise about a patient, and a hypothesis that follows from it, contradicts it, or neither."""

import random

from biocache.engine.demo.grammar import Rules, fill, text_of

__all__ = ["LABELS", "pair"]

LABELS = ("entailment", "neutral", "contradiction")

# A condition, a wider name, a drug given for it, a finding that goes with it, and one that excludes it.
_CONDITIONS = (
    ("atrial fibrillation", "an arrhythmia", "metoprolol", "an irregular pulse", "a regular pulse"),
    ("community-acquired pneumonia", "a lung infection", "ceftriaxone", "fever and cough", "clear lungs"),
    ("type 2 diabetes", "a metabolic disease", "metformin", "an HbA1c of 9.1 %", "normal blood sugar"),
    ("iron-deficiency anemia", "a blood disorder", "ferrous sulfate", "marked pallor", "a normal blood count"),
    ("bronchial asthma", "an airway disease", "inhaled albuterol", "wheezing", "normal breath sounds"),
    ("hypertension", "a vascular disease", "lisinopril", "a pressure of 178/95", "a pressure of 118/72"),
)
_RULES: Rules = {
    "who": (
        "a 45-year-old man", "a 62-year-old woman", "an 8-year-old boy", "a 79-year-old man", "a 33-year-old woman",
        "a 51-year-old woman", "a 27-year-old man", "a 70-year-old woman",
    ),
    "seen": ("presented with", "was admitted with", "was transferred for", "came to the clinic with"),
    "history": (
        "with no known allergies", "who lives alone", "who works in a bakery", "on dialysis since 2011",
        "who does not smoke", "after a long flight",
    ),
    "day": ("day 1", "day 2", "day 3", "the same day"),
    "exam": ("on examination there is", "the findings are", "the patient has", "we see", "the team found"),
    "premise": (
        "{who} {seen} {finding} and was found to have {condition} .",
        "{who} {seen} {finding} . Treatment of {condition} with {drug} began on {day} .",
        "{who} is treated with {drug} for {condition} and has {finding} .",
        "the history is notable for {condition} , for which {who} takes {drug} .",
        "{who} {history} has {finding} but no sign of {other} .",
    ),
    # The same words in another order: the label depends on which finding is affirmed and which denied.
    "entailment": (
        "{exam} {finding} rather than {absent} .", "{exam} {finding} , not {absent} .",
        "{exam} {finding} and no longer {absent} .", "not {absent} but {finding} was seen .",
        "there is {wider} .", "the patient suffers from {condition} .",
    ),
    "contradiction": (
        "{exam} {absent} rather than {finding} .", "{exam} {absent} , not {finding} .",
        "{exam} {absent} and no longer {finding} .", "not {finding} but {absent} was seen .",
        "there is no {wider_bare} .", "{condition} was ruled out .",
    ),
    "neutral": (
        "{exam} {absent} or {finding} , which the notes leave open .", "the patient also has {other} .",
        "{condition} runs in the family .", "the patient will be discharged next week .",
        "the patient takes {other_drug} as well .", "{exam} {other_finding} .",
    ),
}  # fmt: skip


def pair(choices: random.Random, label: str) -> tuple[str, str]:
    """Make a premise and a hypothesis of a label."""
    condition, wider, drug, finding, absent = choices.choice(_CONDITIONS)
    other, _, other_drug, other_finding, _ = choices.choice([row for row in _CONDITIONS if row[0] != condition])
    rules = {
        **_RULES,
        "condition": (condition,),
        "wider": (wider,),
        "wider_bare": (wider.partition(" ")[2],),
        "drug": (drug,),
        "finding": (finding,),
        "absent": (absent,),
        "other": (other,),
        "other_drug": (other_drug,),
        "other_finding": (other_finding,),
    }
    return text_of(fill(choices, "{premise}", rules)), text_of(fill(choices, f"{{{label}}}", rules))
