"""How close DRRs of real CTs are to real chest films, in every look.

    python benchmarks/realism.py [--quick] [--looks film,drr-rate] [--poses N] [--seed N]

Frontal films and DRRs are compared in one window of 320 mm at 2 mm per pixel (at the detector).
Measures, all zero for equal collections: Wasserstein-1 distance of grey levels (of 255), of all
pictures pooled and, as an energy distance over pairs of pictures (Szekely and Rizzo, J. Stat.
Plan. Inference 143, 2013), of each picture; root mean square difference of the mean radial log
power spectra in decibel, 0.006 to 0.2 cycles per mm, of pictures divided by their mean; and the
kernel distance (KID, unbiased, mean of three) in small networks trained on films of other
patients, their features divided by the training films' standard deviation. Every patient counts
once, however many films there are. Intervals are 95 % bootstrap intervals over patients and,
within each CT, over poses. Two floors say what the numbers mean: random halves of the patients
against each other, and two real patients, one film each, against all others: no look of two CTs
can be expected to be closer than the latter. Frontal only: there are no lateral films.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from distances import (
    between,
    frequencies,
    histograms,
    polynomial_kernel,
    pooled_wasserstein,
    spectra,
    spectral_distance,
    wasserstein,
    within,
)
from films import CREDIT, DATA, PIXELS, SPACING, Film, read_films, to_window
from looks import CT_CREDIT, LOOKS, poses, read_scans
from numpy.typing import NDArray
from PIL import Image

import drr

MEASURES = {
    "grey_pooled": "grey, pooled",
    "grey_each": "grey, each picture",
    "spectrum": "spectrum dB",
    "kid": "KID",
}
OUT = Path(__file__).parent / "out"
BOOTSTRAPS, NETWORKS, COLUMNS = 500, 3, 6
GREY_QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Collection:
    """Pictures with all that comparing them needs, worked out once.

    `rows` of it are compared by weights: `measure(weights1, weights2)`.
    """

    subjects: NDArray[np.str_]
    histograms: Floats
    spectra: Floats
    wasserstein: Floats
    kernel: Floats

    @classmethod
    def of(
        cls, pictures: NDArray[np.floating], subjects: Sequence[str], kernel: Floats
    ) -> Collection:
        return cls(
            np.array(subjects),
            histograms(pictures),
            spectra(pictures, SPACING),
            wasserstein(pictures),
            kernel,
        )

    def measure(self, first: Floats, second: Floats) -> dict[str, float]:
        """Distances between the pictures weighted by `first` and by `second`, `(n,)` each."""
        a, b = np.flatnonzero(first), np.flatnonzero(second)
        w1, w2 = first[a], second[b]
        return {
            "grey_pooled": pooled_wasserstein(self.histograms[a], self.histograms[b], w1, w2),
            "grey_each": self._energy(-self.wasserstein, a, b, w1, w2),
            "spectrum": spectral_distance(self.spectra[a], self.spectra[b], w1, w2),
            "kid": self._energy(self.kernel, a, b, w1, w2),
        }

    def _energy(
        self, alike: Floats, a: NDArray[np.int_], b: NDArray[np.int_], w1: Floats, w2: Floats
    ) -> float:
        """Unbiased: how much more alike pictures of one collection are than of both."""
        return (
            within(alike[np.ix_(a, a)], w1, self.subjects[a])
            + within(alike[np.ix_(b, b)], w2, self.subjects[b])
            - 2 * between(alike[np.ix_(a, b)], w1, w2)
        )


def equal_subjects(subjects: NDArray[np.str_], times: dict[str, int] | None = None) -> Floats:
    """Weights by which every subject counts once, or as often as it was drawn."""
    names, which, counts = np.unique(subjects, return_inverse=True, return_counts=True)
    drawn = np.array([1 if times is None else times.get(str(n), 0) for n in names], np.float64)
    return np.asarray((drawn / counts)[which])


def drawn_again(names: Sequence[str], chance: np.random.Generator) -> dict[str, int]:
    chosen, counts = np.unique(chance.choice(names, len(names)), return_counts=True)
    return dict(zip(chosen.tolist(), counts.tolist(), strict=True))


def interval(values: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    return {
        name: tuple(np.percentile([v[name] for v in values], [2.5, 97.5]).tolist())  # type: ignore[misc]
        for name in values[0]
    }


def compare(
    collection: Collection,
    real: NDArray[np.bool_],
    made: NDArray[np.bool_],
    *,
    bootstraps: int,
    seed: int,
) -> dict[str, Any]:
    """A look against the films: values and bootstrap intervals."""
    chance = np.random.default_rng(seed)
    subjects = collection.subjects
    patients = np.unique(subjects[real]).tolist()
    found = []
    for _ in range(bootstraps):
        of_films = equal_subjects(subjects, drawn_again(patients, chance)) * real
        of_looks = np.zeros(subjects.size)
        for scan in np.unique(subjects[made]):
            rows = np.flatnonzero(made & (subjects == scan))
            np.add.at(of_looks, chance.choice(rows, rows.size), 1 / rows.size)
        found.append(collection.measure(of_looks, of_films))
    values = collection.measure(equal_subjects(subjects) * made, equal_subjects(subjects) * real)
    return {"values": values, "interval": interval(found), "pictures": int(made.sum())}


def floors(
    collection: Collection, real: NDArray[np.bool_], *, draws: int, seed: int
) -> dict[str, Any]:
    """Real against real: halves of the patients, and two of them against the rest."""
    chance = np.random.default_rng(seed)
    subjects = collection.subjects
    patients = np.unique(subjects[real])
    halves, pairs = [], []
    for _ in range(draws):
        half = chance.permutation(patients)[: patients.size // 2]
        first = real & np.isin(subjects, half)
        one, other = (equal_subjects(subjects) * part for part in (first, real & ~first))
        halves.append(collection.measure(one, other))
        two = chance.choice(patients, 2, replace=False)
        weights = np.zeros(subjects.size)
        for patient in two:
            weights[chance.choice(np.flatnonzero(real & (subjects == patient)))] = 1.0
        rest = equal_subjects(subjects) * (real & ~np.isin(subjects, two))
        pairs.append(collection.measure(weights, rest))
    summary = {}
    for name, values in (("halves", halves), ("two patients", pairs)):
        mean = {m: float(np.mean([v[m] for v in values])) for m in MEASURES}
        summary[name] = {"values": mean, "interval": interval(values)}
    summary["two patients"]["draws"] = {m: sorted(v[m] for v in pairs) for m in MEASURES}
    return summary


def share_below(draws: list[float], value: float) -> float:
    """Share of the pairs of real patients that are closer to the rest than a value is."""
    return float(np.searchsorted(draws, value) / len(draws))


def split_patients(films: Sequence[Film], *, seed: int) -> tuple[list[Film], list[Film]]:
    """Half of the patients to train the network with, the others to compare with."""
    patients = sorted({film.patient for film in films})
    half = set(np.random.default_rng(seed).permutation(patients)[: len(patients) // 2].tolist())
    return [f for f in films if f.patient in half], [f for f in films if f.patient not in half]


def profile(collection: Collection, weights: Floats) -> dict[str, list[float]]:
    """Where collections differ: quantiles of the grey levels (of 255) and the mean log spectrum."""
    pool = np.cumsum(weights @ collection.histograms) / weights.sum()
    return {
        "grey_quantiles": [int(np.searchsorted(pool, q)) for q in GREY_QUANTILES],
        "spectrum_db": (weights @ collection.spectra / weights.sum()).round(2).tolist(),
    }


def print_profiles(profiles: dict[str, dict[str, list[float]]]) -> None:
    print("\ngrey level (of 255) below which a share of the pixels lies")
    print(f"{'':14}" + "".join(f"{q:>7.0%}" for q in GREY_QUANTILES))
    for name, values in profiles.items():
        print(f"{name:14}" + "".join(f"{grey:7d}" for grey in values["grey_quantiles"]))
    every = slice(0, None, 3)
    real = np.array(profiles["real"]["spectrum_db"])
    print("\npower in decibel above the real films', by cycles per cm")
    print(f"{'':14}" + "".join(f"{10 * f:7.2f}" for f in frequencies()[every]))
    for name, values in profiles.items():
        above = np.array(values["spectrum_db"]) - real
        print(f"{name:14}" + "".join(f"{decibel:+7.1f}" for decibel in above[every]))


def print_table(title: str, result: dict[str, Any]) -> None:
    print(f"\n{title}")
    print(f"{'':30}" + "".join(f"{name:>24}" for name in MEASURES.values()))
    rows = {
        "real, halves": result["floors"]["halves"],
        "real, two patients": result["floors"]["two patients"],
        **{f"{look} (n={r['pictures']})": r for look, r in result["looks"].items()},
    }
    for name, row in rows.items():
        cells = []
        for measure in MEASURES:
            low, high = row["interval"][measure]
            cells.append(f"{row['values'][measure]:8.2f} [{low:6.2f},{high:7.2f}]")
        print(f"{name:30}" + "".join(f"{cell:>24}" for cell in cells))
    print("share of pairs of real patients that are closer to the others than the look is:")
    for look, row in result["looks"].items():
        shares = "".join(f"{100 * row['pairs_closer'][m]:22.0f} %" for m in MEASURES)
        print(f"{look:30}" + shares)


def montage(rows: Sequence[NDArray[np.floating]], path: Path, *, gap: int = 4) -> None:
    """Rows of equally large grey pictures from 0 to 1, on white."""
    height, width = rows[0][0].shape
    columns = max(len(row) for row in rows)
    sheet = np.ones((len(rows) * (height + gap) - gap, columns * (width + gap) - gap))
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            top, left = r * (height + gap), c * (width + gap)
            sheet[top : top + height, left : left + width] = picture
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(255 * sheet).astype(np.uint8)).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few poses and draws")
    parser.add_argument("--looks", default=",".join(LOOKS), help="comma-separated")
    parser.add_argument("--poses", type=int, help="per CT; 12 by default, 4 with --quick")
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--json", type=Path, default=OUT / "realism.json")
    parser.add_argument("--montage", type=Path, default=OUT / "realism_montage.png")
    options = parser.parse_args()
    if not (DATA / "cxr/nih/films_320px.zip").exists():
        print(f"no real films in {DATA}; set DRR_TEST_DATA to their folder", file=sys.stderr)
        return
    import encoder

    names = options.looks.split(",")
    taken = poses(options.poses or (4 if options.quick else 12), seed=options.seed)
    draws = 100 if options.quick else BOOTSTRAPS

    films = read_films()
    training, held_out = split_patients(films, seed=options.seed)
    models = [encoder.train(training, seed=options.seed + n, cache=OUT) for n in range(NETWORKS)]
    reference = [film for film in held_out if film.view == "PA"]
    areas = encoder.areas_under_curve(models, held_out)

    made, subjects = {}, []
    scans = read_scans()
    for name in names:
        look = LOOKS[name]
        shots = [look(scan, pose) for scan in scans.values() for pose in taken]
        made[name] = np.stack(
            [to_window(shot.picture, (shot.spacing, shot.spacing)) for shot in shots]
        )
        subjects += [scan for scan in scans for _ in taken]
    pictures = np.concatenate([np.stack([f.picture for f in reference]), *made.values()])
    subjects = [film.patient for film in reference] + subjects
    source = np.array(
        ["real"] * len(reference) + [f"look {name}" for name in names for _ in made[name]],
        dtype=object,
    )
    of_films = np.stack([film.picture for film in training])
    kernels = []
    for model in models:
        seen, usual = encoder.features(model, pictures), encoder.features(model, of_films)
        kernels.append(polynomial_kernel((seen - usual.mean(axis=0)) / (usual.std(axis=0) + 1e-6)))
    collection = Collection.of(pictures, subjects, np.mean(kernels, axis=0))

    healthy = np.zeros(len(pictures), bool)
    healthy[: len(reference)] = [not film.findings for film in reference]
    results = {}
    for title, real in (("No Finding", healthy), ("all", source == "real")):
        floor = floors(collection, real, draws=draws, seed=options.seed)
        of_pairs = floor["two patients"].pop("draws")
        compared = {}
        for name in names:
            row = compare(
                collection, real, source == f"look {name}", bootstraps=draws, seed=options.seed + 1
            )
            row["pairs_closer"] = {m: share_below(of_pairs[m], row["values"][m]) for m in MEASURES}
            compared[name] = row
        results[title] = {
            "films": int(real.sum()),
            "patients": int(np.unique(collection.subjects[real]).size),
            "floors": floor,
            "looks": compared,
        }
        print_table(
            f"{title}: {int(real.sum())} PA films of {results[title]['patients']} adults; "
            f"{len(scans)} CTs x {len(taken)} poses",
            results[title],
        )
    once = equal_subjects(collection.subjects)
    profiles = {"real": profile(collection, once * (source == "real"))}
    profiles |= {name: profile(collection, once * (source == f"look {name}")) for name in names}
    print_profiles(profiles)
    print(
        f"\nnetwork: area under the curve {json.dumps({k: round(v, 2) for k, v in areas.items()})}"
    )
    per_patient = {film.patient: film.picture for film in reference if not film.findings}
    shown = np.linspace(0, len(taken) * len(scans) - 1, COLUMNS).astype(int)
    looked = [pictures[shown] for pictures in made.values()]
    montage([np.stack(list(per_patient.values())[:COLUMNS]), *looked], options.montage)
    result = {
        "drr": drr.__version__,
        "seed": options.seed,
        "window_mm": SPACING * PIXELS,
        "spacing_mm": SPACING,
        "poses": [asdict(pose) for pose in taken],
        "scans": list(scans),
        "networks": {"count": NETWORKS, "films": len(training), "areas_under_curve": areas},
        "against": results,
        "profiles": profiles,
        "frequencies_per_mm": frequencies().round(5).tolist(),
        "credit": [CREDIT, CT_CREDIT],
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2))
    print(f"saved {options.json} and {options.montage}")


if __name__ == "__main__":
    main()
