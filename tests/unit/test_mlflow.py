"""MLmodel files: whatever is in one, it is read or refused; and its signature is that of the model, or is refused."""

import json
import random

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import mlflow_models
from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.mlflow import LARGEST_MLMODEL, Mlmodel, MlmodelInput, with_mlmodel
from scorestream_server.domain.model import (
    ColumnType,
    Feature,
    ModelKind,
    ModelSchema,
    OutputColumn,
    Training,
)
from scorestream_server.scoring.mlflow import read_mlmodel

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
REASONS = {"MLMODEL_INVALID", "MLFLOW_FLAVOR", "MLFLOW_PATH", "MODEL_PICKLE"}


def schema(*features: Feature) -> ModelSchema:
    outputs = (OutputColumn("score", ColumnType.FLOAT32),)
    return ModelSchema(ModelKind.XGBOOST_UBJ, features, outputs, 1.0, "words", Training("xgboost"))


def outcome(text: str) -> Mlmodel | str:
    """Return what an MLmodel file says, or the reason why it is refused."""
    try:
        return read_mlmodel(text)
    except ScorestreamError as error:
        return error.reason


@settings(max_examples=50)
@given(
    st.fixed_dictionaries(
        {
            "flavors": st.one_of(
                ANYTHING,
                st.fixed_dictionaries(
                    {"xgboost": st.one_of(ANYTHING, st.fixed_dictionaries({"data": ANYTHING}))}
                ),
            )
        },
        optional={
            "signature": st.one_of(
                ANYTHING,
                st.fixed_dictionaries({"inputs": ANYTHING.map(json.dumps)}),
                st.fixed_dictionaries(
                    {"inputs": st.lists(st.fixed_dictionaries({"type": ANYTHING, "tensor-spec": ANYTHING}))}
                ),
            ),
            "metadata": ANYTHING,
            "run_id": ANYTHING,
        },
    )
)
def test_any_document_is_read_or_refused(document: dict[str, object]) -> None:
    """With a reason of ours; a path that is read never leaves its directory."""
    found = outcome(yaml.safe_dump(document))
    if isinstance(found, str):
        assert found in REASONS
        return
    assert not found.data_path.startswith("/")
    assert ".." not in found.data_path.split("/")
    assert all(isinstance(text, str) and len(text) <= 256 for text in found.metadata.values())


@given(st.text(alphabet=st.sampled_from("abc:-[]{}&*!<> \n\"'|#%@`\t,?~"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(ScorestreamError) as caught:
        read_mlmodel(text)
    assert caught.value.reason in REASONS


def test_a_text_that_would_grow_is_refused_before_it_does() -> None:
    """References that double at each line, and a text that is too large."""
    bomb = "a: &a [x, x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}]\n" for n in range(20))
    for text, told in ((bomb, "reference"), ("#" * (LARGEST_MLMODEL + 1), "larger")):
        with pytest.raises(ScorestreamError, match=told):
            read_mlmodel(text)


def test_what_mlflow_writes_is_read() -> None:
    """Its flavor, the file, the library's version, the signature and where it comes from."""
    inputs = mlflow_models.columns(age="double", kind="string")
    found = read_mlmodel(mlflow_models.mlmodel(mlflow_models.flavor("xgboost", "model.xgb"), inputs))
    assert (found.flavor, found.data_path, found.library_version) == ("xgboost", "model.xgb", "9.8.7")
    assert list(found.inputs) == [MlmodelInput("age", "double"), MlmodelInput("kind", "string")]
    assert found.metadata["mlflow.model_id"] == "m-5f0c8a"
    old = read_mlmodel("flavors: {xgboost: {xgb_version: 0.90}}")
    assert (old.data_path, old.inputs) == ("model.xgb", ())


COLUMNS = st.lists(
    st.tuples(
        st.text("abc", min_size=1, max_size=2), st.sampled_from(["double", "long", "boolean", "string"])
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda pair: pair[0],
)


@given(COLUMNS, st.randoms(use_true_random=False), st.booleans())
def test_a_signature_that_fits_is_kept_in_the_models_order(
    columns: list[tuple[str, str]], source: random.Random, named: bool
) -> None:
    """Whatever its own order; a model without names gets them in the signature's order."""
    features = [
        Feature(name if named else "", ("x", "y") if kind == "string" else (), category=kind == "string")
        for name, kind in columns
    ]
    given_inputs = [MlmodelInput(name, kind) for name, kind in columns]
    if named:
        source.shuffle(given_inputs)
    made = with_mlmodel(schema(*features), Mlmodel("xgboost", "model.ubj", "1.2", given_inputs))
    assert [(feature.name, feature.declared) for feature in made.features] == columns
    assert made.training.library_version == "1.2"


@pytest.mark.parametrize(
    ("feature", "kind", "told"),
    [
        (Feature("a"), "string", "a number in the model"),
        (Feature("a", category=True), "string", "a category by number"),
        (Feature("a", ("x",)), "long", "has categories of text"),
        (Feature("a"), "datetime", "no column of a table"),
        (Feature("a"), "", "no column of a table"),
    ],
)
def test_a_type_that_does_not_fit_is_named(feature: Feature, kind: str, told: str) -> None:
    with pytest.raises(ScorestreamError, match=told) as caught:
        with_mlmodel(schema(feature), Mlmodel("xgboost", "m", inputs=[MlmodelInput("a", kind)]))
    assert caught.value.reason == "SIGNATURE_MISMATCH"
