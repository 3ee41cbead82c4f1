"""Presets of the randomisation, as data."""

from __future__ import annotations

from typing import Any

__all__ = ["PRESETS"]


def _some(low: float, high: float, probability: float, **more: Any) -> dict[str, Any]:
    return {"low": low, "high": high, "probability": probability, **more}


def _together(group: str, probability: float, **ranges: tuple[float, float]) -> dict[str, Any]:
    """Ranges of quantities that are varied in the same samples."""
    return {
        name: _some(low, high, probability, together=group) for name, (low, high) in ranges.items()
    }


_TISSUES = ("lung", "fat", "soft_tissue", "bone")
_EDGES = ("border_top", "border_bottom", "border_left", "border_right")
_LOG_NORMAL = {"distribution": "log-normal", "mode": 1.0, "sigma": 1.0}

PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    # FleXray's released recipe for rendered sources: the rendering profile of its whole-body CTs
    # (MOOSE) and its augmentation chain (CT_base). What is left out: docs/randomisation.md.
    "flexray": {
        **dict.fromkeys(_TISSUES, _some(0.1, 4.0, 0.5, together="tissue", **_LOG_NORMAL)),
        "primary_angle": [-180.0, 180.0],
        "secondary_angle": [-30.0, 30.0],
        "offset_across": [-100.0, 100.0],
        "offset_down": [-100.0, 100.0],
        "source_to_detector_distance": [1150.0, 1250.0],
        "source_to_isocenter_distance": [500.0, 900.0],
        # 256 pixels of 1.25 to 2.25 mm, relative to the 430 mm of a view.
        "field_size": [0.7442, 1.3395],
        "clip": 0.5,
        "flip": 0.5,
        **_together(
            "affine",
            0.25,
            rotation=(-90.0, 90.0),
            scale=(0.8, 1.2),
            shear_across=(-16.0, 16.0),
            shear_down=(-16.0, 16.0),
            shift_across=(-0.25, 0.25),
            shift_down=(-0.25, 0.25),
        ),
        "marker_height": _some(0.03, 0.10, 0.25),
        "marker_across": [0.0, 0.45],
        "marker_down": [0.0, 0.45],
        "marker_corner": ["top left", "top right", "bottom left", "bottom right"],
        "marker_grey": [0.8, 1.0],
        "invert": 0.5,
        "clahe": _some(1.0, 2.0, 0.1),
        "gamma": _some(0.9, 1.1, 0.25),
        "gain": _some(0.7, 1.3, 0.25),
        "sharpness": _some(0.7, 1.3, 0.5),
        "noise": _some(0.01, 0.01, 0.25),
    },
    # SyntheX's COVID-19 task: noise and gamma each in a half of a half of the samples, and of its
    # heavy chain (on in a half) what has a counterpart here, each in a half of that.
    "synthex": {
        "noise": _some(0.005, 0.01, 0.25, together="noise"),
        "gamma": _some(0.7, 1.3, 0.25, together="gamma"),
        "invert": 0.25,
        "contrast": _some(0.5, 2.0, 0.0625),
        **_together(
            "affine",
            0.25,
            rotation=(-5.0, 5.0),
            scale=(0.9, 1.1),
            shear_across=(-2.0, 2.0),
            # 20 pixels of a picture 224 wide.
            shift_across=(-0.0893, 0.0893),
            shift_down=(-0.0893, 0.0893),
        ),
        # A sigma of up to 3 pixels of 224.
        "blur": _some(0.0, 6.86, 0.03),
        "gain": _some(0.5, 1.5, 0.03),
    },
    # Ours: what differs between chest departments, none of it enough to make a label wrong. No
    # mirror image: it would move the heart to the right.
    "chest": {
        "lung": _some(0.9, 1.1, 0.5, distribution="log-uniform", together="tissue"),
        "fat": _some(0.9, 1.1, 0.5, distribution="log-uniform", together="tissue"),
        "soft_tissue": _some(0.95, 1.05, 0.5, distribution="log-uniform", together="tissue"),
        "bone": _some(0.7, 1.3, 0.5, distribution="log-uniform", together="tissue"),
        "energy_kev": [50.0, 75.0],
        "kvp": [90.0, 140.0],
        "primary_angle": [-6.0, 6.0],
        "secondary_angle": [-5.0, 5.0],
        "detector_rotation": [-3.0, 3.0],
        "offset_across": [-15.0, 15.0],
        "offset_down": [-15.0, 15.0],
        "source_to_detector_factor": [0.95, 1.05],
        "field_size": [0.94, 1.1],
        "receptor_air_kerma": {"low": 1.0, "high": 6.0, "distribution": "log-uniform"},
        "clip": _some(0.0, 1.0, 0.5),
        **_together(
            "affine",
            0.3,
            rotation=(-3.0, 3.0),
            scale=(0.95, 1.08),
            shift_across=(-0.03, 0.03),
            shift_down=(-0.03, 0.03),
        ),
        "blur": _some(0.2, 1.0, 0.3),
        "sharpness": _some(0.8, 1.8, 0.3),
        "clahe": _some(1.0, 2.0, 0.15),
        "gamma": _some(0.75, 1.35, 0.5, distribution="log-uniform"),
        "contrast": _some(0.85, 1.15, 0.3),
        "brightness": _some(-0.06, 0.06, 0.3),
        "noise": _some(0.002, 0.015, 0.3, distribution="log-uniform"),
        **_together("border", 0.15, **dict.fromkeys(_EDGES, (0.0, 0.05))),
        "border_white": 0.1,
        "marker_height": _some(0.025, 0.05, 0.5),
        "marker_across": [0.02, 0.1],
        "marker_down": [0.02, 0.3],
        "marker_corner": ["top left", "top right"],
        "marker_grey": [0.75, 1.0],
        "invert": 0.05,
    },
}
"""Presets by name, as `Policy.from_dict` reads them."""
