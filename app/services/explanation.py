"""Why a sample is where it is: what was seen of it, what decided, who its neighbours are, whom it helps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import lance
import numpy as np
from anyio import to_thread

from app.contracts import REASONS, SET_BY_CODE, UNSCORED, Dataset, SetVersion
from app.contracts.predictions import PredictionRequest
from app.services.datasets import find_sample
from app.services.influence import Influences, influences
from app.services.lineages import provenance_of
from app.services.predictions import predict, trained_model
from app.services.ranked_versions import RankedVersion, RankedVersions
from app.services.review_queue import class_label
from app.services.rules import rule
from app.settings import Settings
from app.store.explanations import Explanation, nearest_rows, row_of
from app.store.review_log import VERDICTS
from app.store.samples import StoredLabel
from app.store.state import State
from app.store.verdicts import NO_VERDICT

SHOWN = 10
"""Neighbours, and samples helped and hurt, at most."""
_TEXTS = ("generation", "id", "text", "text_pair", "label", "label_number")
_SIGNALS = ("grad_norm", "loss", "el2n", "margin", "confidence", "alignment")
Row = dict[str, Any]


def explain(state: State, versions: RankedVersions, dataset: Dataset, sample_id: str) -> Row:
    """EXPLANATION as clients see it; what is not known of the sample is null or empty.

    Raises:
        NotFound: there is no such sample.
    """
    row = find_sample(state, dataset, sample_id)
    said = None if row["label"] is None else StoredLabel(row["label"], row["label_number"]).value()
    told: Row = {
        "id": row["id"],
        "text": row["text"],
        "text_pair": row["text_pair"],
        "label": said,
        **_nothing(),
        "review": _verdict(state, dataset, row),
        "trajectory": _trajectory(state, dataset, row),
    }
    if not dataset.set_version:
        return told
    version = state.sets.version(dataset, None)
    ranked = versions.of(state, dataset, version.version)
    at = ranked.position(row["ordinal"], row["generation"])
    if at is not None:
        told |= _placed(dataset, version, ranked, at)
        told["provenance"] = provenance_of(state, dataset, version.lineage, version.job)
    results = state.results.of_job(dataset.uid, version.job)
    return told | _seen(state, dataset, Explanation(results), row, version)


async def attributed(state: State, settings: Settings, dataset: Dataset, told: Row) -> Row:
    """With what each token of the sample says to the newest trained model of the dataset.

    Raises what `trained_model` and `predict` raise.
    """
    model = await to_thread.run_sync(trained_model, state, dataset, None)
    asked = PredictionRequest([told["text"]], [told["text_pair"]], attributions=True)
    answer = await predict(state, settings, model, asked)
    (found,) = answer["predictions"]
    kept = {name: found[name] for name in ("label", "probability", "attributions")}
    return {**told, "attributions": {"job": answer["job"], **kept}}


def _nothing() -> Row:
    empty = dict.fromkeys(
        (
            "version",
            "policy",
            "job",
            "lineage",
            "provenance",
            "importance",
            "rank",
            "noise_probability",
            "attributions",
        )
    )
    return {
        **empty,
        "set": UNSCORED,
        "reason": UNSCORED,
        "rule": rule(UNSCORED, UNSCORED, {}),
        "suggested_label": None,
        "model_label": None,
        "model_probability": None,
        "neighbours": [],
        "helps": [],
        "hurts": [],
    }


# -- its scores and its place --------------------------------------------------------------------------------
def _placed(dataset: Dataset, version: SetVersion, ranked: RankedVersion, at: int) -> Row:
    members = ranked.members
    noise = float(members.noise[at])
    set_name, reason = SET_BY_CODE[int(members.sets[at])], REASONS[int(members.reasons[at])]
    mine = ranked.classes == ranked.classes[at]
    probability = None if np.isnan(noise) else noise
    return {
        "version": version.version,
        "policy": version.policy,
        "job": version.job,
        "lineage": version.lineage,
        "set": set_name,
        "reason": reason,
        "rule": rule(version.policy, reason, {**version.params, "noise_probability": probability}),
        "importance": float(members.importance[at]),
        "rank": {
            "overall": at + 1,
            "of": len(members.importance),
            "within_label": int(mine[: at + 1].sum()),
            "of_label": int(mine.sum()),
        },
        "noise_probability": probability,
        "suggested_label": class_label(dataset, int(members.suggested[at])),
    }


def _trajectory(state: State, dataset: Dataset, row: Mapping[str, Any]) -> list[Row]:
    """The visits of the sample as it is, in the present lineage, oldest first."""
    if dataset.lineage is None:
        return []
    deltas = state.archive.of_dataset(dataset).deltas(dataset.lineage)
    return [
        {"run": run.number, "epoch": epoch, "correct": bool(visit["correct"]), **_signals(visit)}
        for run in deltas.runs()
        for epoch, name in enumerate(run.epochs, 1)
        for visit in deltas.visits(name, row["ordinal"], row["ordinal"] + 1, whole=False)
        if visit["generation"] == row["generation"]
    ]


def _signals(visit: np.void) -> Row:
    values = {name: float(visit[name]) for name in _SIGNALS}
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def _verdict(state: State, dataset: Dataset, row: Row) -> str | None:
    """Of a reviewer on the sample as it is."""
    where = np.array([row["ordinal"]]), np.array([row["generation"]], dtype=np.uint32)
    code = int(state.reviews.in_force(dataset).of(*where)[0])
    return None if code == NO_VERDICT else VERDICTS[code].value


# -- how the model saw it ------------------------------------------------------------------------------------
def _seen(state: State, dataset: Dataset, explanation: Explanation, row: Row, version: SetVersion) -> Row:
    table = explanation.open()
    seen = None if table is None else row_of(table, row["ordinal"])
    if table is None or seen is None or seen["generation"] != row["generation"]:
        return {}
    told: Row = {"neighbours": _neighbours(state, dataset, table, seen, version.version)}
    if "logits" not in seen:
        return told
    probabilities = np.exp(seen["logits"] - np.logaddexp.reduce(seen["logits"]))
    best = int(probabilities.argmax())
    told |= {"model_label": class_label(dataset, best), "model_probability": float(probabilities[best])}
    head = explanation.head()
    if head is None or seen["validation"]:
        return told
    found = influences(table, seen, head, SHOWN)
    return told | {
        "helps": _affected(state, dataset, found, 1),
        "hurts": _affected(state, dataset, found, -1),
    }


def _neighbours(
    state: State, dataset: Dataset, table: lance.LanceDataset, seen: Row, version: int
) -> list[Row]:
    """The nearest train samples that are as they were."""
    column = next((name for name in ("embedding", "hidden") if name in seen), None)
    if column is None:
        return []
    near = nearest_rows(table, column, seen[column], SHOWN, but=seen["ordinal"])
    sets = state.sets.column(dataset, version)
    described = []
    for ordinal, cosine, row in _as_they_were(state, dataset, near):
        code = int(sets[ordinal]["set"]) if ordinal < len(sets) else 0
        described.append({**row, "similarity": cosine, "set": SET_BY_CODE[code]})
    return described


def _affected(state: State, dataset: Dataset, found: Influences, sign: int) -> list[Row]:
    rows = found.most(sign)
    return [{**row, "alignment": value} for _, value, row in _as_they_were(state, dataset, rows)]


def _as_they_were(
    state: State, dataset: Dataset, found: list[tuple[int, int, float]]
) -> Iterator[tuple[int, float, Row]]:
    """Of (ordinal, generation, value): what is shown of those that have not changed since."""
    rows = state.samples.by_ordinals(dataset, [ordinal for ordinal, _, _ in found], _TEXTS)
    for ordinal, generation, value in found:
        row = rows.get(ordinal)
        if row is not None and row["generation"] == generation:
            label = None if row["label"] is None else StoredLabel(row["label"], row["label_number"]).value()
            yield (
                ordinal,
                value,
                {"id": row["id"], "text": row["text"], "text_pair": row["text_pair"], "label": label},
            )
