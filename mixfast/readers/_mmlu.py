"""The subjects of MMLU and their four categories, grouped as in Olmix.

Questions of the test set: Hendrycks et al., "Measuring Massive Multitask Language Understanding" (arXiv 2009.03300).
"""

from __future__ import annotations

from collections.abc import Iterable

from mixfast._text.names import listing
from mixfast.readers._olmix_values import OlmixConfigError

_QUESTIONS = {
    "mmlu_stem": {
        "abstract_algebra": 100, "astronomy": 152, "college_biology": 144, "college_chemistry": 100, "college_computer_science": 100,
        "college_mathematics": 100, "college_physics": 102, "computer_security": 100, "conceptual_physics": 235,
        "electrical_engineering": 145, "elementary_mathematics": 378, "high_school_biology": 310, "high_school_chemistry": 203,
        "high_school_computer_science": 100, "high_school_mathematics": 270, "high_school_physics": 151, "high_school_statistics": 216,
        "machine_learning": 112,
    },
    "mmlu_other": {
        "anatomy": 135, "business_ethics": 100, "clinical_knowledge": 265, "college_medicine": 173, "global_facts": 100,
        "human_aging": 223, "management": 103, "marketing": 234, "medical_genetics": 100, "miscellaneous": 783, "nutrition": 306,
        "professional_accounting": 282, "professional_medicine": 272, "virology": 166,
    },
    "mmlu_social_sciences": {
        "econometrics": 114, "high_school_geography": 198, "high_school_government_and_politics": 193,
        "high_school_macroeconomics": 390, "high_school_microeconomics": 238, "high_school_psychology": 545, "human_sexuality": 131,
        "professional_psychology": 612, "public_relations": 110, "security_studies": 245, "sociology": 201, "us_foreign_policy": 100,
    },
    "mmlu_humanities": {
        "formal_logic": 126, "high_school_european_history": 165, "high_school_us_history": 204, "high_school_world_history": 237,
        "international_law": 121, "jurisprudence": 108, "logical_fallacies": 163, "moral_disputes": 346, "moral_scenarios": 895,
        "philosophy": 311, "prehistory": 324, "professional_law": 1534, "world_religions": 171,
    },
}  # fmt: skip

CATEGORIES = {
    category: {
        f"mmlu_{subject}:rc::olmes": questions / sum(subjects.values()) for subject, questions in subjects.items()
    }
    for category, subjects in _QUESTIONS.items()
}
"""For each category of Olmix, its columns and their weights, in proportion to their questions."""

SUBJECTS = frozenset(column for columns in CATEGORIES.values() for column in columns)
"""The 57 columns."""


def has_subjects(metrics: Iterable[str]) -> bool:
    """Whether Olmix would group these metrics into categories: they include subjects, and no categories.

    Raises
    ------
    OlmixConfigError
        If some of the 57 subjects are missing; Olmix stops then, too.
    """
    names = set(metrics)
    if not names & SUBJECTS or any("mmlu_stem" in name for name in names):
        return False
    if missing := sorted(SUBJECTS - names):
        raise OlmixConfigError(
            f"the metrics have {len(SUBJECTS) - len(missing)} of the 57 columns of MMLU, and Olmix needs all of them for its four "
            f"categories; missing: {listing(missing)}. Add these columns, or leave out the others with --ignore"
        )
    return True
