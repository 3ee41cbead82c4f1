"""The same CTs in two looks, a CheXNet trained on each, both tested on DRRs and on real films.

    python benchmarks/transfer.py FILMS [--table CSV] [--patients N] [--size PIXELS]
        [--epochs N] [--seeds N] [--json FILE]

CTs are phantoms with six findings of CT-RATE in the anatomy, each in three of ten patients. One
network sees what DRR-RATE published of them (its recipe, AP), stored; the other the film look, PA,
projected anew in every epoch with the chest policy. Everything else is the same: DenseNet-121 from
random weights, crops, steps, the patients it learns from. Figures are macro AUROC with intervals by
patient: on held-out patients in both looks, and on films (as of NIH ChestX-ray14, with its table)
for the findings that both label.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stored_views import write_views

import drr
from drr.datasets import ProjectedDRRs
from drr.datasets.loaders.store import prepare_store
from drr.datasets.phantom.finding import draw
from drr.datasets.phantom.thorax import thorax
from drr.datasets.study import Cohort, Study
from drr.evaluate.bootstrap import Bootstrap
from drr.evaluate.cases import align
from drr.evaluate.evaluate import evaluate
from drr.evaluate.predictions import Predictions
from drr.evaluate.results import Evaluation
from drr.evaluate.truth import Truth
from drr.published.render import drr_rate
from drr.train.predict import predict
from drr.train.predict_sets import predict_films, predict_views, truth_of
from drr.train.recipe import Recipe, find_recipe
from drr.train.train import train

RESULTS = Path(__file__).resolve().parent / "results"

VOXELS, PREVALENCE, HELD_OUT = 72, 0.3, 0.3
LOOKS = ("drr-rate", "film")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("films", type=Path, help="folder or ZIP file of real films")
    parser.add_argument("--table", type=Path, help="CSV of their findings")
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each look")
    parser.add_argument("--json", type=Path, default=RESULTS / "transfer.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = experiment(Path(folder), options)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n")


def experiment(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    store, published = make_data(folder, options.patients)
    print(f"{options.patients} CTs in both looks: {time.perf_counter() - start:.0f} s", flush=True)
    recipe = Recipe(
        name="transfer",
        image_size=options.size,
        channels=1,
        normalisation="centred",
        crop_area=(0.8, 1.0),
        class_weighting="balanced",
        learning_rate=5e-4,
        schedule="cosine",
        batch_size=16,
        epochs=options.epochs,
        monitor="auroc",
    )
    rows: list[dict[str, Any]] = []
    seen: dict[str, dict[str, list[tuple[Predictions, Truth]]]] = {look: {} for look in LOOKS}
    for look in LOOKS:
        for seed in range(options.seeds):
            start = time.perf_counter()
            own = {"seed": seed, "policy": None if look == "drr-rate" else "chest"}
            run = folder / f"{look} {seed}"
            data = published if look == "drr-rate" else store
            train(data, run, recipe=Recipe.from_dict({**recipe.to_dict(), **own}))
            took = time.perf_counter() - start
            print(f"trained on {look}, seed {seed}: {took:.0f} s", flush=True)
            tests = {
                "held-out DRRs, drr-rate": predict_views(run, published, split="valid"),
                "held-out DRRs, film": on_films_of(run, store, options.size),
                "real films": predict_films(run, options.films, options.table, original_shape=True),
            }
            for name, pair in tests.items():
                seen[look].setdefault(name, []).append(pair)
    for name in seen[LOOKS[0]]:
        results = {look: measure(seen[look][name]) for look in LOOKS}
        both = measure(seen["film"][name], seen["drr-rate"][name])
        rows += [row(look, name, result) for look, result in results.items()]
        rows.append(difference(name, both))
    return {
        "drr": drr.__version__,
        "torch": str(torch.__version__),
        "patients": options.patients,
        "recipe": recipe.to_dict(),
        "seeds": options.seeds,
        "rows": rows,
    }


def make_data(folder: Path, patients: int) -> tuple[Path, Path]:
    """A store of prepared phantoms, and what DRR-RATE would have published of them."""
    labels = find_recipe("drr-rate").labels
    studies, pictures = [], []
    scans: dict[str, drr.Volume] = {}
    for number in range(patients):
        rng = np.random.default_rng((7, number))
        codes = [int(rng.random() < PREVALENCE) for _ in labels]
        findings = [draw(name, rng) for name, code in zip(labels, codes, strict=True) if code]
        name = f"p{number:04}"
        scans[name] = thorax(
            VOXELS,
            seed=number,
            findings=findings,
            sex=str(rng.choice(["F", "M"])),
            age=float(rng.uniform(30, 85)),
            bmi=float(rng.uniform(19, 34)),
        )
        split = "train" if number < (1 - HELD_OUT) * patients else "valid"
        studies.append(
            Study(sample=name, patient=name, path=f"{name}.nii", split=split, labels=tuple(codes))
        )
        pictures.append(drr_rate(scans[name]).picture)
    cohort = Cohort(kind="phantoms", root=folder, studies=tuple(studies), label_names=labels)
    prepare_store(cohort, folder / "store", read=lambda study: (scans[study.sample], None))
    published = write_views(
        folder / "published.h5",
        np.stack(pictures),
        names=[study.sample for study in studies],
        labels=cohort.codes,
        label_names=labels,
        splits=[study.split or "" for study in studies],
        view="ap",
    )
    return folder / "store", published


def on_films_of(run: Path, store: Path, size: int) -> tuple[Predictions, Truth]:
    """Held-out patients in the film look, nothing varied."""
    views = ProjectedDRRs(store, split="valid", policy=None, shape=(size, size))
    return predict(run, views), truth_of(views)


def measure(
    first: list[tuple[Predictions, Truth]], second: list[tuple[Predictions, Truth]] | None = None
) -> Evaluation:
    """Figures of the mean prediction over all seeds; of the difference where there are two."""
    cases, other = (
        None if pairs is None else align(mean([p for p, _ in pairs]), pairs[0][1])
        for pairs in (first, second)
    )
    assert cases is not None
    return evaluate(cases, bootstrap=Bootstrap(draws=1000), subgroups=[], other=other)


def mean(predictions: list[Predictions]) -> Predictions:
    first = predictions[0]
    scores = np.mean([p.scores for p in predictions], axis=0)
    return Predictions(scores=scores, labels=first.labels, names=first.names, source=first.source)


def row(look: str, name: str, result: Evaluation) -> dict[str, Any]:
    macro = result.macro_auroc
    print(f"{'trained on ' + look:24} {name:26} {text(macro)}", flush=True)
    for one in result.classes:
        print(f"    {one.label:46} {text(one.auroc)}  {one.positives} of {one.samples}", flush=True)
    return {
        "trained_on": look,
        "tested_on": name,
        "samples": result.samples,
        "patients": result.patients,
        "macro_auroc": macro.to_dict(),
        "auroc": {one.label: one.auroc.to_dict() for one in result.classes},
    }


def difference(name: str, result: Evaluation) -> dict[str, Any]:
    assert result.comparison is not None
    macro = result.comparison.macro
    print(f"{'film less drr-rate':24} {name:26} {text(macro.auroc)}\n", flush=True)
    return {"film_less_drr_rate": macro.auroc.to_dict(), "tested_on": name}


def text(estimate: Any) -> str:
    return f"{estimate.value:6.3f} [{estimate.low:6.3f}, {estimate.high:6.3f}]"


if __name__ == "__main__":
    main()
