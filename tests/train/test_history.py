from __future__ import annotations

import csv
import io
import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from drr.train.curves import curves_svg
from drr.train.history import History, learning_rate
from drr.train.recipe import Recipe


def test_learning_rates():
    history = History("loss")
    cosine = Recipe(learning_rate=1.0, schedule="cosine", warm_up_epochs=2, epochs=10)
    rates = [learning_rate(cosine, position, history) for position in (0, 1, 2, 6, 10)]
    np.testing.assert_allclose(rates, [0.005, 0.5, 1, 0.5, 0], atol=1e-12)
    plateau = Recipe(learning_rate=1.0, schedule="plateau")
    for loss, rate in ((5, 1), (4, 1), (4.5, 0.1), (3, 0.1), (3, 0.01)):
        history.rows.append({"valid_loss": loss})
        assert learning_rate(plateau, 0, history) == pytest.approx(rate)
    assert (history.best, history.epochs_without_gain) == (3, 1)
    history = History("auroc", [{"valid_auroc": math.nan}, {"valid_auroc": 0.6}])
    assert history.best == 1


def test_history_as_a_table():
    rows = [
        {"epoch": 0, "valid_auroc": 0.5, "auroc: Nodule, small": math.nan},
        {"epoch": 1, "valid_auroc": 0.75, "auroc: Nodule, small": 1.0},
    ]
    back = list(csv.DictReader(io.StringIO(History("auroc", rows).csv())))
    assert [float(row["valid_auroc"]) for row in back] == [0.5, 0.75]
    assert [row["auroc: Nodule, small"] for row in back] == ["nan", "1"]
    assert History("loss").csv() == ""
    assert History("loss").best == -1


def test_curves_leave_out_what_is_no_number():
    rows = [
        {"epoch": e, "train_loss": 1.0, "valid_loss": 2.0, "valid_auroc": math.nan}
        for e in range(3)
    ]
    picture = curves_svg(rows)
    assert "nan" not in picture
    lines = ElementTree.fromstring(picture).findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.get("points", "").split()) for line in lines] == [3, 3, 0]
