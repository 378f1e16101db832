"""How well could anyone find these wrong labels? For the settings of quality.py whose flips are drawn.

    python benchmarks/quality_ceiling.py --data DIR --models DIR --out build/quality --seeds 3

For each row, a classifier is trained on the other folds with their *right* labels, which no method is given,
and the odds that this row's label was flipped follow by Bayes from the flips' own law. Which classifier is
chosen with hindsight. What is then still missing is not in the embedding for any of these to find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from quality_data import Ints, Setting, load_setting, parser_of
from quality_methods import Floats, classifier, folds, probabilities
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.svm import SVC

SETTINGS = [
    ("clothing", "one_sided"),
    ("clothing", "symmetric"),
    ("banking", "confusable"),
    ("banking", "symmetric"),
    ("shopping_zh", "symmetric"),
]
LINEAR = (0.3, 1.0, 3.0, 10.0, 30.0)
Fit = Callable[[NDArray[np.float32], Ints], Any]


def main() -> None:
    args = parser_of(__doc__).parse_args()
    print("area under ROC / average precision, x 100, by seed, and whose")
    for source, noise in SETTINGS:
        if args.sources and source not in args.sources:
            continue
        told = []
        for seed in range(args.seeds):
            setting = load_setting(source, noise, seed, args.data, args.models, args.out)
            told.append(max(measured(setting, seed)))
        mean = 100 * np.mean([area for area, *_ in told])
        seeds = [f"{100 * area:.1f} / {100 * precision:.1f} ({who})" for area, precision, who in told]
        print(f"{source} {noise}: {mean:.1f}   ({', '.join(seeds)})", flush=True)


def measured(setting: Setting, seed: int) -> Iterator[tuple[float, float, str]]:
    law = law_of_flips(setting)
    for who, said in classifiers(setting, seed):
        suspicion = odds_of_a_flip(said, setting.given, law)
        area = roc_auc_score(setting.wrong, suspicion)
        yield float(area), float(average_precision_score(setting.wrong, suspicion)), who


def classifiers(setting: Setting, seed: int) -> Iterator[tuple[str, Floats]]:
    """Whose probabilities of the right class, (n, classes), out of fold."""
    fold = folds(len(setting.true), seed)
    for strength in LINEAR:
        fit = partial(classifier, strength=strength)
        yield f"linear, C={strength:g}", out_of_fold(setting, fold, fit)
    if setting.classes == 2:
        yield "kernel", out_of_fold(setting, fold, CalibratedClassifierCV(SVC(), ensemble=False).fit)


def out_of_fold(setting: Setting, fold: Ints, fit: Fit) -> Floats:
    said = np.zeros((len(setting.true), setting.classes))
    for one in range(fold.max() + 1):
        rows = np.concatenate([setting.train_rows[fold != one], setting.validation_rows])
        labels = np.concatenate([setting.true[fold != one], setting.validation])
        said[fold == one] = probabilities(fit(rows, labels), setting.train_rows[fold == one], setting.classes)
    return said


def law_of_flips(setting: Setting) -> Floats:
    """(classes, classes): how often a right label (row) is given as another (column), as was drawn."""
    law = np.zeros((setting.classes, setting.classes))
    np.add.at(law, (setting.true, setting.given), 1.0)
    return law / np.maximum(law.sum(axis=1, keepdims=True), 1.0)


def odds_of_a_flip(said: Floats, given: Ints, law: Floats) -> Floats:
    """(n,) that the right label is another than the one given."""
    joint = said * law[:, given].T
    kept = joint[np.arange(len(given)), given]
    return np.asarray(1.0 - kept / np.maximum(joint.sum(axis=1), 1e-300))


if __name__ == "__main__":
    main()
