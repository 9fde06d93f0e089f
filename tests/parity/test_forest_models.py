"""Scores equal the training library's own predictions, whatever the model, the kernel and the partitioning."""

from pathlib import Path

import numpy as np
import pytest

from parity.forest_models import CASES
from scorestream_server.device.cpu import CpuDevice
from scorestream_server.scoring.load import detect_kind, load_scorer

DEVICE = CpuDevice()


@pytest.mark.parametrize("name", CASES)
def test_scores_equal_the_librarys_predictions(name: str, tmp_path: Path) -> None:
    case = CASES[name](tmp_path)
    assert detect_kind(case.path) == case.kind
    scorer = load_scorer(case.path, case.kind, DEVICE)
    scored = scorer.score(case.columns, DEVICE.open_lane())
    results = {column.name: values for column, values in zip(scorer.schema.outputs, scored, strict=True)}
    if case.tolerance:
        assert list(results) == list(case.expected)
    for column, expected in case.expected.items():
        result = results[column].to_numpy()
        # The absolute part is for margins that cancel out to nearly 0.
        np.testing.assert_allclose(
            result, expected, rtol=case.tolerance, atol=case.tolerance / 10, err_msg=column
        )
