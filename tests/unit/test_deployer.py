"""Deployments over a real store: what they become, and what becomes of them when their server dies or somebody retires them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from engine_bench import Bench
from scorestream_server.domain.context import ContextSettings, ContextTags, built_in
from scorestream_server.domain.deployment import Deployment, DeploymentState
from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.engine.deployments import Deployer
from scorestream_server.engine.runtimes import Runtimes
from scorestream_server.store import deployments, models
from scorestream_server.store.contexts import ContextStore

DEPLOYING, DEPLOYED = DeploymentState.DEPLOYING, DeploymentState.DEPLOYED
FAILED, RETIRED = DeploymentState.FAILED, DeploymentState.RETIRED
NONE = ContextTags()
WANTED = Deployment("d1", "twice", 0, "cc-fraud", "PROD", DEPLOYING, "me", 1.0, 1.0)


@dataclass(eq=False)
class Scene:
    """A server's part that deploys."""

    bench: Bench

    def __post_init__(self) -> None:
        tagged = ContextSettings(service_tags=("cc-fraud",))
        self.contexts = ContextStore({"default": built_in("default", tagged, "the file")})
        self.start()

    def start(self) -> None:
        bench = self.bench
        runtimes = Runtimes(bench.database, self.contexts, bench.engine)
        self.deployer = Deployer(bench.database, bench.pool, bench.directory, bench.engine, runtimes)

    async def tag(self, add: ContextTags, remove: ContextTags = NONE) -> ContextTags:
        made = await self.bench.database.write(
            lambda connection: self.contexts.tag(connection, "default", add, remove, 2.0)
        )
        return ContextTags(made.settings.service_tags, made.settings.stage_tags)

    async def put(self, deployment: Deployment) -> None:
        await self.bench.database.write(lambda connection: deployments.create(connection, deployment, ""))

    async def require_unused(self, owner: str | None) -> None:
        await self.bench.database.read(
            lambda connection: deployments.require_unused(connection, "twice", {1}, owner)
        )

    async def got(self, deployment_id: str = "d1") -> Deployment:
        await self.deployer.wait(deployment_id, 20)
        return await self.bench.database.read(
            lambda connection: deployments.get(connection, deployment_id, "me")
        )


@pytest_asyncio.fixture
async def scene(bench: Bench) -> AsyncIterator[Scene]:
    made = Scene(bench)
    yield made
    await made.deployer.close()


async def test_what_was_being_deployed_goes_on_after_a_restart(scene: Scene) -> None:
    """DEPLOYING becomes DEPLOYED, or FAILED with the reason; what is DEPLOYED stays as it was."""
    stays = replace(WANTED, id="d0", state=DEPLOYED, model_version=1, update_time=5.0)
    for one in (
        stays,
        replace(WANTED, model_version=1),
        replace(WANTED, id="d2", model_version=1, stage="UAT"),
    ):
        await scene.put(one)
    await scene.tag(ContextTags(stage=("PROD",)))
    await scene.deployer.recover()
    found = await scene.got()
    assert (found.state, found.context, found.reason) == (DEPLOYED, "default", "")
    failed = await scene.got("d2")
    assert failed.state is FAILED
    assert failed.reason.startswith("No runtime has stage 'UAT'. Tag one with: scorestream context tag add")
    assert await scene.got("d0") == stays


async def test_a_version_that_is_deployed_is_kept_for_it(scene: Scene) -> None:
    """The newest version now is what it stays; the same request gives the same deployment; another's model has no details."""
    made = await scene.deployer.create(WANTED, "r1")
    again = await scene.deployer.create(replace(WANTED, id="d9"), "r1")
    assert (made.id, made.model_version, again.id) == ("d1", 1, "d1")
    await scene.deployer.retire("d1", "me", cancel=False)
    await scene.tag(ContextTags(stage=("PROD",)))
    await scene.deployer.create(replace(WANTED, id="d2"), "")
    assert (await scene.got("d2")).state is DEPLOYED
    for owner, told in (
        ("me", "deployment d2"),
        (None, "deployment d2"),
        ("you", "a deployment of somebody else"),
    ):
        with pytest.raises(ScorestreamError, match=told) as caught:
            await scene.require_unused(owner)
        assert caught.value.reason == "MODEL_IN_USE"
        assert ("d2" in caught.value.message) == (owner != "you")
    await scene.deployer.retire("d2", "me", cancel=False)
    await scene.bench.database.write(lambda connection: models.remove(connection, "twice", 1, "me"))


async def test_one_that_is_retired_while_it_is_deployed_stays_retired(scene: Scene) -> None:
    """Whichever comes first to the store; and those that it was to replace stay."""
    await scene.tag(ContextTags(stage=("PROD",)))
    older = replace(WANTED, id="d0", state=DEPLOYED, model_version=1)
    await scene.put(older)
    made = await scene.deployer.create(replace(WANTED, replace=True), "")
    assert (await scene.deployer.retire(made.id, "me", cancel=True)).state is RETIRED
    late = replace(made, state=DEPLOYED)
    settled = await scene.bench.database.write(lambda connection: deployments.settle(connection, late))
    assert (settled.state, (await scene.got()).state) == (RETIRED, RETIRED)
    assert (await scene.got("d0")).state is DEPLOYED
    with pytest.raises(ScorestreamError, match="no deployment 'd1'"):
        await scene.deployer.retire("d1", "you", cancel=False)


async def test_a_model_that_cannot_be_opened_is_the_reason(scene: Scene) -> None:
    """A file that was damaged since its registration shows when it is deployed."""
    await scene.tag(ContextTags(stage=("PROD",)))
    (scene.bench.directory.models / "twice.sql").write_text("x * * 2 AS twice")
    await scene.deployer.create(WANTED, "")
    found = await scene.got()
    assert found.state is FAILED
    assert "twice" in found.reason


async def test_a_built_in_context_keeps_what_its_file_says_and_what_was_added(scene: Scene) -> None:
    """Tags of the file are removed in the file; others come and go, and are there after a restart."""
    both = await scene.tag(ContextTags(("churn",), ("PROD", "DEV")))
    assert both == ContextTags(("cc-fraud", "churn"), ("DEV", "PROD"))
    with pytest.raises(
        ScorestreamError, match="Tag 'cc-fraud' of context 'default' comes from the file"
    ) as caught:
        await scene.tag(NONE, ContextTags(("cc-fraud", "churn")))
    assert caught.value.reason == "TAG_BUILT_IN"
    scene.contexts = ContextStore(
        {"default": built_in("default", ContextSettings(stage_tags=("SIT",)), "another")}
    )
    assert await scene.tag(NONE, ContextTags(stage=("DEV",))) == ContextTags(("churn",), ("PROD", "SIT"))
