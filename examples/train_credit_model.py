"""Trains the model that the demo scores with: will a customer default next month?

The result, `credit_model.ubj`, is committed; run this only to make it again:
    python examples/train_credit_model.py
"""

from pathlib import Path

import numpy as np
import xgboost
from pyarrow import csv

HERE = Path(__file__).parent
TARGET = "default.payment.next.month"
SEED = 456
HELD_OUT = 0.2
PARAMETERS = {
    "objective": "binary:logistic",
    "eval_metric": "auc",
    "tree_method": "hist",
    "max_depth": 6,
    "eta": 0.015,
    "subsample": 0.8,
    "colsample_bytree": 0.6,
    "min_child_weight": 20,
    "seed": SEED,
    "nthread": 2,
}
TREES = 500


def main() -> None:
    """Train on four fifths of the customers, print the AUC on the others, write the model."""
    customers = csv.read_csv(HERE / "uci_credit_card.csv")
    # The ID says nothing about a customer; a model that is given it learns the file by heart.
    features = [name for name in customers.column_names if name not in {"ID", TARGET}]
    values = np.column_stack([customers[name].to_numpy() for name in features]).astype(np.float32)
    target = customers[TARGET].to_numpy()
    held_out = np.random.default_rng(SEED).random(len(target)) < HELD_OUT
    train, test = (
        xgboost.DMatrix(values[rows], target[rows], feature_names=features) for rows in (~held_out, held_out)
    )
    history: dict[str, dict[str, list[float]]] = {}
    model = xgboost.train(
        PARAMETERS, train, TREES, evals=[(test, "held_out")], evals_result=history, verbose_eval=False
    )
    model.save_model(HERE / "credit_model.ubj")
    print(
        f"{TREES} trees over {len(features)} features; AUC on held-out customers {history['held_out']['auc'][-1]:.4f}"
    )


if __name__ == "__main__":
    main()
