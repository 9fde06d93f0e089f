"""The models behind rows B2, B8 and E1 of the list of features: a registry of versions, their names and what is known."""

import struct
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
import xgboost as xgb

import mlflow_models
import scorestream
from scorestream import FeatureType, ModelDifference
from scorestream.v1 import model_service_pb2

Ask = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]

NAMES = ["age", "income", "debt"]
VALUES = np.random.default_rng(7).normal(size=(200, 3))
LABELS = (VALUES[:, 0] + VALUES[:, 1] > 0).astype(float)
ROWS = pa.table({name: VALUES[:, place] for place, name in enumerate(NAMES)})
NUMBERS = mlflow_models.columns(age="double", income="float", debt="long")


def booster(names: list[str] | None = NAMES, rounds: int = 3, **params: Any) -> xgb.Booster:
    matrix = xgb.DMatrix(VALUES, LABELS, feature_names=names)
    return xgb.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1, **params}, matrix, rounds)


def lightgbm_booster() -> lgb.Booster:
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}
    return lgb.train(settings, lgb.Dataset(VALUES, LABELS, feature_name=NAMES), 3)


@pytest.fixture
def name(prefix: str) -> str:
    """A model's name that no other test has."""
    return f"credit_{prefix.split('_')[1]}"


def test_e1_a_version_tells_what_is_known_of_it(
    local: scorestream.Client, name: str, tmp_path: Path, ask: Ask
) -> None:
    """Inputs with types, outputs, what the file says of its training, and what its owner says."""
    frame = pd.DataFrame({"age": VALUES[:, 0], "kind": pd.Categorical(np.where(LABELS > 0, "a", "b"))})
    trained = xgb.train(
        {"objective": "multi:softprob", "num_class": 3, "nthread": 1},
        xgb.DMatrix(frame, LABELS, enable_categorical=True),
        2,
    )
    trained.set_attr(best_iteration="1", note="x" * 1000)
    trained.save_model(tmp_path / "m.ubj")
    made = local.register_model(
        name, tmp_path / "m.ubj", comment="the first", labels={"team": "risk"}, metadata={"auc": "0.81"}
    ).info
    assert [(one.name, one.type, one.categories, one.declared_type) for one in made.features] == [
        ("age", FeatureType.NUMBER, (), "float"),
        ("kind", FeatureType.CATEGORY, ("a", "b"), "c"),
    ]
    assert [(one.name, one.type) for one in made.outputs[-2:]] == [("score_2", "float32"), ("label", "int32")]
    training = made.training
    assert (training.library, training.library_version) == ("xgboost", xgb.__version__)
    assert (training.objective, training.trees, training.classes) == ("multi:softprob", 6, 3)
    assert len(training.base_scores) in {1, 3}
    assert training.attributes == {"best_iteration": "1"}
    assert (made.comment, made.labels, made.metadata) == ("the first", {"team": "risk"}, {"auc": "0.81"})

    lightgbm_booster().save_model(tmp_path / "m.txt")
    other = local.register_model(f"{name}_lgb", tmp_path / "m.txt").info.training
    assert (other.library, other.objective, other.classes, other.trees) == (
        "lightgbm",
        "binary sigmoid:1",
        2,
        3,
    )
    code = local.register_model(f"{name}_code", source="CASE WHEN kind = 'a' THEN age END AS p").info
    assert [(one.name, one.type) for one in code.features] == [
        ("kind", FeatureType.TEXT),
        ("age", FeatureType.NUMBER),
    ]
    assert (code.outputs[0].type, code.training.library) == ("float64", "")
    told = ask("model", "show", f"{name}/1")
    assert (told["training"]["objective"], told["features"][1]["type"]) == ("multi:softprob", "CATEGORY")


def test_e1_what_is_said_changes_and_the_content_never(
    local: scorestream.Client, name: str, ask: Ask, run: Run
) -> None:
    """The same content keeps its version, other metadata makes another; comment and labels may change."""
    first = local.register_model(name, source="a AS b", comment="one", metadata={"data": "may"})
    again = local.register_model(name, source="a AS b")
    assert (again.id, again.info.comment) == (first.id, "one")
    told = ("model", "register", "--name", name, "--source", "a AS b")
    assert ask(*told, "--metadata", "data=june", "--label", "team=risk")["version"] == 2
    assert ask(*told, "--metadata", "data=may", "--comment", "two")["comment"] == "two"
    assert first.refresh().info.metadata == {"data": "may"}
    changed = ask("model", "update", f"{name}@1", "--label", "stage=review")
    assert (changed["comment"], changed["labels"]) == ("two", {"stage": "review"})
    assert ask("model", "update", f"{name}/1", "--no-labels")["labels"] == {}
    assert first.update(comment="").info.comment == ""
    listed = ask("model", "list", "--prefix", name)
    assert [(one["version"], one["labels"]) for one in listed] == [(1, {}), (2, {"team": "risk"})]
    nothing = run("model", "update", name, "--server", local.address, check=2)
    assert "--comment" in nothing.stderr
    for wrong in ({"comment": "x" * 1001}, {"labels": {"a b": ""}}, {"labels": {"a": "x" * 257}}):
        with pytest.raises(scorestream.InvalidArgumentError, match=next(iter(wrong))):
            first.update(**wrong)
    request = model_service_pb2.UpdateModelRequest()
    request.model.name = f"models/{name}"
    request.update_mask.paths.append("digest")
    with pytest.raises(scorestream.InvalidArgumentError, match="these can: comment, labels"):
        local._connection.call(local._connection.models.UpdateModel, request)


def test_b2_an_alias_names_a_version_wherever_a_model_is_named(
    local: scorestream.Client, session: scorestream.Session, name: str, ask: Ask, run: Run
) -> None:
    """It moves in one step, guarded by what was expected; a job keeps the version that it resolved to."""
    for factor in (1, 2, 3):
        local.register_model(name, source=f"a * {factor} AS b")
    assert ask("model", "alias", "set", f"{name}/2", "champion", "--expected", 0)["aliases"] == ["champion"]
    rows = pa.table({"a": [1.0]})
    job = session.score(f"{name}@champion", rows)
    assert pa.Table.from_batches(job.results())["b"].to_pylist() == [2.0]
    assert job.info.model == f"{name}@2"
    submitted = ask("job", "submit", session.id, f"{name}@champion", job.info.table)
    assert submitted["model"] == f"{name}@2"

    moved = local.get_model(f"{name}/3").set_alias("champion", expected=2)
    assert (moved.aliases, local.get_model(f"{name}@champion").version) == (("champion",), 3)
    assert job.refresh().info.model == f"{name}@2"
    with pytest.raises(scorestream.FailedPreconditionError, match="points to version 3") as caught:
        local.get_model(f"{name}/1").set_alias("champion", expected=2)
    assert caught.value.reason == "ALIAS_MOVED"
    assert moved.set_alias("champion", expected=1).version == 3  # it is there already
    moved.set_alias("newest_but_one")
    assert [one["aliases"] for one in ask("model", "list", "--prefix", name)] == [
        [],
        [],
        ["champion", "newest_but_one"],
    ]
    run("model", "alias", "drop", f"{name}@newest_but_one", "--server", local.address)
    assert moved.refresh().aliases == ("champion",)
    for bad in ("3", "a b", "-x", "a" * 64, ""):
        with pytest.raises(scorestream.InvalidArgumentError):
            moved.set_alias(bad)


def test_b2_an_alias_is_moved_once_by_a_request(local: scorestream.Client, name: str) -> None:
    """A request that comes again moves nothing, also where somebody moved the alias meanwhile."""
    for factor in (1, 2):
        local.register_model(name, source=f"a * {factor} AS b")
    request = model_service_pb2.SetModelAliasRequest(
        name=f"models/{name}/aliases/champion",
        version=1,
        expected_version=0,
        request_id=name.replace("_", "-"),
    )
    method = local._connection.models.SetModelAlias
    assert local._connection.call(method, request).version == 1
    local.get_model(f"{name}/2").set_alias("champion")
    assert local._connection.call(method, request).version == 1
    assert local.get_model(f"{name}@champion").version == 2
    request.request_id, request.version = "", 0
    with pytest.raises(scorestream.InvalidArgumentError, match="version"):
        local._connection.call(method, request)
    with pytest.raises(scorestream.InvalidArgumentError):
        local.remove_model(f"{name}@champion")


def test_b2_a_version_that_is_needed_stays(
    local: scorestream.Client, name: str, run: Run, session: scorestream.Session
) -> None:
    """An alias keeps it until the alias is dropped or moved, a job until it is final."""
    model = local.register_model(name, source="a AS b").set_alias("champion")
    told = run("model", "remove", f"{name}/1", "--server", local.address, check=2).stderr
    assert f"scorestream model alias drop {name}@champion" in told
    with pytest.raises(scorestream.FailedPreconditionError) as caught:
        local.remove_model(name)
    assert caught.value.reason == "MODEL_HAS_ALIAS"
    model.drop_alias("champion")
    slow = " + ".join(["EXP(LN(ABS(a) + 1))"] * 40)
    busy = local.register_model(f"{name}_slow", source=f"{slow} AS b")
    job = session.score(busy, pa.table({"a": np.arange(400_000.0)}), partition_rows=1000)
    with pytest.raises(scorestream.FailedPreconditionError) as caught:
        busy.remove()
    assert caught.value.reason == "MODEL_IN_USE"
    job.cancel()
    assert local.wait_any([job]).state is scorestream.State.CANCELLED
    run("model", "remove", name, "--server", local.address)
    busy.remove()
    assert local.models(name) == []


def test_b8_two_versions_are_compared(
    local: scorestream.Client, name: str, tmp_path: Path, ask: Ask, run: Run
) -> None:
    """Inputs that came, went or changed, training, and what is said; the same content is called the same."""
    booster().save_model(tmp_path / "a.ubj")
    booster(["age", "salary", "debt"], 4, objective="reg:squarederror").save_model(tmp_path / "b.ubj")
    local.register_model(name, tmp_path / "a.ubj", labels={"team": "risk"}).set_alias("champion")
    local.register_model(name, tmp_path / "b.ubj")
    found = local.compare_models(f"{name}/1", f"{name}/2")
    assert not found.same_content
    told = {(one.what, one.name): (one.first, one.second) for one in found.differences}
    assert told["input", "income"] == ("NUMBER", None)
    assert told["input", "salary"] == (None, "NUMBER")
    assert told["objective", ""] == ("binary:logistic", "reg:squarederror")
    assert told["trees", ""] == (3, 4)
    assert told["label", "team"] == ("risk", None)
    assert told["aliases", ""] == (["champion"], [])
    assert {"digest", "description", "classes"} <= {what for what, _ in told}
    shown = ask("model", "compare", f"{name}@champion", name)
    assert {(one["what"], one["name"]) for one in shown["differences"]} == set(told)
    text = run("model", "compare", f"{name}/1", f"{name}/2", "--server", local.address).stdout
    assert "salary" in text
    other = local.register_model(f"{name}_copy", tmp_path / "a.ubj")
    same = local.compare_models(f"{name}/1", other)
    assert same.same_content
    assert same.differences == (
        ModelDifference("label", "team", "risk", None),
        ModelDifference("aliases", "", ["champion"], []),
    )
    said = run("model", "compare", f"{name}/1", f"{name}/1", "--server", local.address).stderr
    assert "same content" in said
    assert "They differ in nothing." in said


def test_b8_what_is_not_there_is_told_with_what_is(local: scorestream.Client, name: str, run: Run) -> None:
    """A near name, the versions that there are, a near alias."""
    for factor in range(12):
        local.register_model(name, source=f"a * {factor} AS b")
    local.get_model(f"{name}/3").set_alias("champion")
    for asked, told in (
        (name[:-1], f"did you mean {name}?"),
        (f"{name}/13", "there is ..., 3, 4, 5, 6, 7, 8, 9, 10, 11, 12."),
        (f"{name}@champoin", "did you mean champion?"),
        (f"{name}@zzz", "it has champion."),
    ):
        assert told in run("model", "show", asked, "--server", local.address, check=2).stderr
    with pytest.raises(scorestream.NotFoundError, match="it has none"):
        local.register_model(f"{name}_bare", source="a AS b").drop_alias("champion")
    with pytest.raises(scorestream.InvalidArgumentError, match="name@alias"):
        local.get_model("a@b@c")


def legacy(path: Path) -> None:
    """Write the binary format of XGBoost before 1.0: ``x1 < 0.5 ? 1 : 2``, base 0.25, three features."""
    learner = struct.pack("<fIiiiII", 0.25, 3, 0, 0, 0, 0, 90) + bytes(4 * 27)
    names = b"".join(struct.pack("<Q", len(name)) + name for name in (b"reg:linear", b"gbtree"))
    trees = struct.pack("<iiiiqii", 1, 1, 3, 0, 0, 1, 0) + bytes(4 * 32)
    tree = struct.pack("<iiiiii", 1, 3, 0, 1, 3, 0) + bytes(4 * 31)
    nodes = struct.pack("<iiiIf", -1, 1, 2, 1, 0.5)
    nodes += struct.pack("<iiiIf", -(2**31), -1, -1, 0, 1.0) + struct.pack("<iiiIf", 0, -1, -1, 0, 2.0)
    path.write_bytes(learner + names + trees + tree + nodes + bytes(16 * 3) + struct.pack("<i", 0))


@pytest.mark.parametrize(
    ("data", "version", "kind"),
    [
        ("model.xgb", "2.22.0", "xgboost_ubj"),
        ("model.json", "2.22.0", "xgboost_json"),
        ("model.ubj", "3.14.0", "xgboost_ubj"),
        ("data/model.xgb", "3.14.0", "xgboost_ubj"),
        ("model.lgb", "3.14.0", "lightgbm"),
    ],
)
def test_e1_an_mlflow_model_is_registered_with_its_signature(
    local: scorestream.Client,
    session: scorestream.Session,
    name: str,
    tmp_path: Path,
    data: str,
    version: str,
    kind: str,
) -> None:
    """From its directory, here or on the server; it scores as its library does."""
    library = "lightgbm" if data.endswith(".lgb") else "xgboost"
    flavors = mlflow_models.flavor(library, data)
    own = {"team": "risk", "deep": {"is": "left out"}, "auc": 0.81}
    text = mlflow_models.mlmodel(flavors, NUMBERS, version=version, metadata=own)
    folder = mlflow_models.write(tmp_path / "credit_model", text)
    (folder / data).parent.mkdir(exist_ok=True)
    model = lightgbm_booster() if library == "lightgbm" else booster()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # XGBoost finds an ending that says no format worth one
        model.save_model(folder / data)
    made = local.register_model(name, folder, metadata={"auc": "0.9"})
    info = made.info
    assert [(one.name, one.declared_type) for one in info.features] == [
        ("age", "double"),
        ("income", "float"),
        ("debt", "long"),
    ]
    assert (info.kind, info.training.library) == (kind, library)
    assert info.training.library_version == ("9.8.7" if library == "lightgbm" else xgb.__version__)
    assert (info.metadata["mlflow.run_id"], info.metadata["mlflow.mlflow_version"]) == (
        mlflow_models.RUN,
        version,
    )
    assert (info.metadata["auc"], info.metadata["team"], "deep" in info.metadata) == ("0.9", "risk", False)
    expected = (
        model.predict(VALUES)
        if library == "lightgbm"
        else model.predict(xgb.DMatrix(VALUES, feature_names=NAMES))
    )
    job = session.score(made, ROWS.select(["debt", "age", "income"]))
    assert np.allclose(pa.Table.from_batches(job.results())["score"].to_numpy(), expected, rtol=1e-5)

    session.files.make_directory("in/credit_model")
    for file in folder.iterdir():
        if file.is_file():
            session.files.upload(file, f"in/credit_model/{file.name}")
    if "/" in data:
        session.files.make_directory("in/credit_model/data")
        session.files.upload(folder / data, f"in/credit_model/{data}")
    for path in ("home:in/credit_model", str(folder)):
        assert session.files.register_model(path, name, metadata={"auc": "0.9"}).id == made.id
    assert session.files.register_model("in/credit_model/").name == "credit_model"


def test_e1_a_signature_names_the_inputs_of_a_model_without_names(
    local: scorestream.Client, session: scorestream.Session, name: str, tmp_path: Path, run: Run
) -> None:
    """Then columns are matched by name; one of a matrix names none. So with XGBoost's old binary format."""
    text = mlflow_models.mlmodel(mlflow_models.flavor("xgboost", "model.xgb"), NUMBERS)
    named = mlflow_models.write(tmp_path / "named", text)
    legacy(named / "model.xgb")
    run("model", "register", named, "--name", name, "--server", local.address)
    pacsv.write_csv(pa.table({"debt": [9.0], "income": [0.6], "age": [9.0]}), tmp_path / "rows.csv")
    run("score", named, "rows.csv", "-o", "scores.csv", "--server", local.address)
    assert pacsv.read_csv(tmp_path / "scores.csv")["score"].to_pylist() == [2.25]
    made = local.get_model(name)
    assert (made.kind, [one.name for one in made.features]) == ("xgboost_legacy", NAMES)
    job = session.score(made, pa.table({"debt": [9.0, 9.0], "income": [0.4, 0.6], "age": [9.0, 9.0]}))
    assert pa.Table.from_batches(job.results())["score"].to_pylist() == [1.25, 2.25]
    text = mlflow_models.mlmodel(
        mlflow_models.flavor("xgboost", "model.ubj"), mlflow_models.matrix(3, "float32")
    )
    bare = mlflow_models.write(tmp_path / "bare", text)
    booster(None).save_model(bare / "model.ubj")
    features = local.register_model(f"{name}_bare", bare).features
    assert [(one.name, one.declared_type) for one in features] == [("", "float32")] * 3


OWN = mlflow_models.flavor("xgboost", "model.ubj")
SKLEARN = {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}}


@pytest.mark.parametrize(
    ("text", "reason", "told"),
    [
        (mlflow_models.mlmodel(OWN, mlflow_models.columns(age="double")), "SIGNATURE_MISMATCH", "'income'"),
        (
            mlflow_models.mlmodel(OWN, mlflow_models.columns(age="double", incom="double", debt="double")),
            "SIGNATURE_MISMATCH",
            "the model has no input 'incom'",
        ),
        (
            mlflow_models.mlmodel(OWN, mlflow_models.columns(age="string", income="long", debt="binary")),
            "SIGNATURE_MISMATCH",
            "the input 'age' is 'string' in the signature, and a number in the model; the input 'debt' is 'binary'",
        ),
        (
            mlflow_models.mlmodel(OWN, mlflow_models.matrix(4)),
            "SIGNATURE_MISMATCH",
            "4 inputs, and the model 3",
        ),
        (mlflow_models.mlmodel(SKLEARN), "MLFLOW_FLAVOR", "treelite.sklearn.import_model"),
        (
            mlflow_models.mlmodel({"python_function": {"loader_module": "x"}}),
            "MLFLOW_FLAVOR",
            "is a program",
        ),
        (mlflow_models.mlmodel({"onnx": {"data": "model.onnx"}}), "MLFLOW_FLAVOR", "onnx"),
        (
            mlflow_models.mlmodel(mlflow_models.flavor("lightgbm", "model.pkl")),
            "MODEL_PICKLE",
            "log_model(model.booster_)",
        ),
        (
            mlflow_models.mlmodel(mlflow_models.flavor("lightgbm", "model.ubj")),
            "MLFLOW_FLAVOR",
            "is one of xgboost",
        ),
        (
            mlflow_models.mlmodel(mlflow_models.flavor("xgboost", "../model.ubj")),
            "MLFLOW_PATH",
            "own directory",
        ),
        (
            mlflow_models.mlmodel(mlflow_models.flavor("xgboost", "/etc/passwd")),
            "MLFLOW_PATH",
            "own directory",
        ),
        ("a: &a [1]\nb: *a\n", "MLMODEL_INVALID", "reference (*) in line 2"),
        ("[" * 1000, "MLMODEL_INVALID", "nested too deeply"),
        ("!!python/object/apply:os.system ['true']", "MLMODEL_INVALID", "no YAML"),
        ("flavors: [", "MLMODEL_INVALID", "no YAML"),
        ("just words", "MLMODEL_INVALID", "no mapping"),
    ],
)
def test_e1_an_mlflow_model_that_cannot_be_scored_is_refused(
    local: scorestream.Client, name: str, tmp_path: Path, text: str, reason: str, told: str
) -> None:
    """By name, with what to do; nothing appears."""
    folder = mlflow_models.write(tmp_path / "model", text)
    booster().save_model(folder / "model.ubj")
    with pytest.raises(scorestream.InvalidArgumentError) as caught:
        local.register_model(name, folder)
    assert caught.value.reason == reason
    assert told in str(caught.value)
    assert local.models(name) == []


def test_e1_a_directory_keeps_what_it_names_inside(
    local: scorestream.Client, session: scorestream.Session, name: str, tmp_path: Path, run: Run
) -> None:
    """A link out of it is not followed, neither here nor on the server; a directory without MLmodel is told."""
    folder = mlflow_models.write(tmp_path / "model", mlflow_models.mlmodel(OWN, NUMBERS))
    booster().save_model(tmp_path / "outside.ubj")
    (folder / "model.ubj").symlink_to(tmp_path / "outside.ubj")
    attempts: list[tuple[Callable[[], object], str]] = [
        (lambda: local.register_model(name, folder), "MLFLOW_PATH"),
        (lambda: session.files.register_model(str(folder), name), "NO_MLFLOW_MODEL"),
        (lambda: session.files.register_model(str(tmp_path), name), "NO_MLFLOW_MODEL"),
        (lambda: local.register_model(name, tmp_path), "NO_MLFLOW_MODEL"),
    ]
    for attempt, reason in attempts:
        with pytest.raises(scorestream.InvalidArgumentError) as caught:
            attempt()
        assert caught.value.reason == reason
    (folder / "model.ubj").unlink()
    with pytest.raises(FileNotFoundError):
        local.register_model(name, folder)
    failed = run("model", "register", tmp_path, "--name", name, "--server", local.address, check=2)
    assert "MLmodel" in failed.stderr
    assert local.models(name) == []
