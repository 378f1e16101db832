"""Do the gradients of the last layer tell whom a sample helps and hurts, as the whole gradient would?

    python benchmarks/explanations.py [--model demo|FOLDER] [--layers 2] [--train 600] [--pairs 64]

Trains on the shipped reviews, then takes the exact gradients, over all parameters, of some train and some
held out reviews, and compares their cosines in the optimiser's metric with those that explanations show.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy.stats import spearmanr

from app.services.influence import LastLayer
from app.settings import Settings
from app.store.model_places import find_model
from demo.run import REVIEWS
from demo.scenario import read_reviews
from models.batching import LabelledTexts, tokenize
from models.encoders import LoadedClassifier, load_classifier
from models.gradients import adam_preconditioner
from models.training import ScoringRun, TrainingConfig

TOP = 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="demo")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--train", type=int, default=600)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    place = find_model(args.model, Settings(allowed_models=(args.model,)))
    for seed in range(args.seeds):
        classifier = load_classifier(
            place.source, num_labels=2, seed=seed, config_overrides={"num_hidden_layers": args.layers}
        )
        correlations, overlap, signs = agreement(classifier, args.train, args.pairs, seed)
        print(
            f"seed {seed}: rank correlation {np.median(correlations):.2f} (quartiles "
            f"{np.quantile(correlations, 0.25):.2f} to {np.quantile(correlations, 0.75):.2f}), "
            f"of the {TOP} shown {overlap:.0%} are among the true {TOP}, {signs:.0%} of signs agree",
            flush=True,
        )


def agreement(
    classifier: LoadedClassifier, train: int, pairs: int, seed: int
) -> tuple[np.ndarray, float, float]:
    """Rank correlations (pairs,) over the held out samples; shares of the strongest and of signs."""
    rows = read_reviews(REVIEWS)
    chosen = np.random.default_rng(seed).permutation(len(rows))[: train + pairs]
    tokens = tokenize(classifier.tokenizer, [rows[i]["text"] for i in chosen], None, 64)
    labels = np.array([int(rows[i]["recommended"]) for i in chosen])
    everyone = LabelledTexts(tokens, labels)
    config = TrainingConfig(num_train_epochs=3, learning_rate=1e-4, per_device_train_batch_size=32, seed=seed)
    run = ScoringRun(classifier, everyone.take(np.arange(train)), None, config, torch.device("cpu"))
    for _ in run.steps():
        pass
    parameters = {name: p for name, p in classifier.model.named_parameters() if p.requires_grad}
    stretch = torch.cat(
        [p.flatten() for p in adam_preconditioner(run._optimizer, parameters).values()]
    ).sqrt()
    classifier.model.eval()
    held_out = torch.stack([gradient(classifier, everyone, i, stretch) for i in range(train, train + pairs)])
    exact = np.stack([(held_out @ gradient(classifier, everyone, i, stretch)).numpy() for i in range(pairs)])
    views, head = run.look(tokens), run.head_preconditioner()
    assert views is not None
    assert head is not None
    last = LastLayer.of(views.logits, views.hidden, labels)
    unit = last.residual[:, :, None] * last.read[:, None, :] * np.sqrt(head)
    unit = unit.reshape(len(labels), -1)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    shown = unit[:pairs] @ unit[train:].T
    correlations = np.array([spearmanr(a, b).statistic for a, b in zip(exact, shown, strict=True)])
    overlap = np.mean([_same(a, b) for a, b in zip(exact, shown, strict=True)])
    return correlations, float(overlap), float((np.sign(exact) == np.sign(shown)).mean())


def gradient(
    classifier: LoadedClassifier, data: LabelledTexts, i: int, stretch: torch.Tensor
) -> torch.Tensor:
    """Of sample i over all parameters, in the optimiser's metric, at length 1."""
    ids = torch.from_numpy(data.tokens.padded(np.array([i]), 0)[0])
    loss = torch.nn.functional.cross_entropy(
        classifier.model(input_ids=ids).logits, torch.tensor([data.labels[i]])
    )
    parameters = [p for p in classifier.model.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, materialize_grads=True)
    flat = torch.cat([g.flatten() for g in found]) * stretch
    return flat / flat.norm()


def _same(a: np.ndarray, b: np.ndarray) -> float:
    return len(set(np.argsort(-a)[:TOP]) & set(np.argsort(-b)[:TOP])) / TOP


if __name__ == "__main__":
    main()
