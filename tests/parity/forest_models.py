"""Models that the parity tests train, each with rows to score and its library's own predictions for them."""

from parity import lightgbm_models, sklearn_models, xgboost_models  # noqa: F401  # each adds its own to the cases
from parity.cases import CASES, Case, arrow

__all__ = ["CASES", "Case", "arrow"]
