"""Any damage is found; a repair removes nothing sound; a push heals the rest."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout
from core.verification.findings import Finding, Kind, Outcome
from core.verification.links import digest_of_link
from core.verification.rules import VerificationRules
from tests.support.content import descriptor, image_index, image_manifest
from tests.support.core_services import CoreServices, in_turn
from tests.support.verifications import REPAIR, Verifications

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

NAMES = [RepositoryName(name) for name in ("a", "a/b", "c")]
LAYERS = [b"layer %d" % number * 20 for number in range(6)]
CONFIGS = [b'{"config": %d}' % number for number in range(3)]


@dataclass
class Pushed:
    """A manifest as it was pushed."""

    name: RepositoryName
    content: bytes
    blobs: list[bytes]
    tags: list[Tag]


def images(chance: random.Random) -> list[Pushed]:
    """Make pushes: images, indexes over some of them, signatures."""
    pushes = []
    for name in NAMES:
        own = []
        for number in range(chance.randint(1, 4)):
            blobs = [chance.choice(CONFIGS), *chance.sample(LAYERS, chance.randint(0, 3))]
            own.append(Pushed(name, image_manifest(blobs[0], blobs[1:]), blobs, [Tag(f"v{number}")]))
        pushes += own
        children = [each.content for each in chance.sample(own, chance.randint(1, len(own)))]
        pushes.append(Pushed(name, image_index(children), [], [Tag("index")]))
        signed = descriptor(own[0].content, media_types.OCI_MANIFEST)
        pushes.append(Pushed(name, image_manifest(b"{}", subject=signed), [b"{}"], []))
    return pushes


async def push(services: CoreServices, pushes: list[Pushed]) -> None:
    for each in pushes:
        for blob in each.blobs:
            await services.push_blob(each.name, blob)
        await services.manifests.put(each.name, each.content, "", tags=each.tags)


async def damage(services: CoreServices, key: str, chance: random.Random) -> None:
    """Lose an object, or let it hold something else."""
    content = await services.storage.read(key)
    # A list of referrers consists of its keys alone.
    how = "lose" if "/_referrers/" in key else chance.choice(["lose", "empty", "cut", "flip"])
    if how == "lose" or not content:
        await services.storage.delete([key])
    elif how == "empty":
        await services.storage.write(key, b"")
    elif how == "cut":
        await services.storage.write(key, content[: len(content) // 2])
    else:
        place = chance.randrange(len(content))
        await services.storage.write(key, content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


def run(seed: int, damages: int, check: Callable[["World"], object]) -> None:
    async def scenario() -> None:
        chance = random.Random(seed)
        services = CoreServices(offload=in_turn)
        world = World(services, Verifications(services), images(chance), chance)
        await push(services, world.pushes)
        for name in NAMES:
            await world.verifications.catalog.record_push(name)
        assert await world.verifications.run() == []
        # Modification times are not compared.
        world.sound = {key: await services.storage.read(key) for key in await services.keys()}
        # No image needs the history of tags, the records of the store's clock, or the counts of a verification.
        unneeded = {layout.STORE_TIME, layout.CLOCK, layout.verification_checkpoint("full")}
        keys = [key for key in sorted(world.sound) if "/index/" not in key and key not in unneeded]
        world.hurt = chance.sample(keys, min(damages, len(keys)))
        for key in world.hurt:
            await damage(services, key, chance)
        await check(world)  # type: ignore[misc] # every check is a coroutine function

    asyncio.run(scenario())


@dataclass
class World:
    """A damaged store, and its content before the damage."""

    services: CoreServices
    verifications: Verifications
    pushes: list[Pushed]
    chance: random.Random
    sound: dict[str, bytes] | None = None
    hurt: list[str] | None = None


SEEDS = st.integers(min_value=0, max_value=2**32)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_any_single_damage_is_found(seed: int) -> None:
    async def check(world: World) -> None:
        [key] = world.hurt or []
        findings = await world.verifications.run()
        assert findings, key

    run(seed, 1, check)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, damages=st.integers(min_value=1, max_value=8))
def test_repair_removes_nothing_sound_and_pushes_heal_the_rest(seed: int, damages: int) -> None:
    async def check(world: World) -> None:
        await world.verifications.run(REPAIR)
        assert await lost_without_cause(world) == []
        left = await world.verifications.run(REPAIR)
        assert [finding for finding in left if not waits_for_push(finding)] == [], left
        await push(world.services, world.pushes)
        await world.verifications.run(REPAIR)
        assert [finding for finding in await world.verifications.run() if finding.kind is not Kind.ORPHAN] == []
        for each in world.pushes:
            stored = await world.services.manifests.get(each.name, Digest.of(each.content))
            assert stored.content == each.content

    run(seed, damages, check)


async def lost_without_cause(world: World) -> list[str]:
    """Return the blobs and links of blobs that were sound and are gone after the repair."""
    now = await world.services.keys()
    gone = [key for key in world.sound or {} if key not in now and key not in (world.hurt or [])]
    return [key for key in gone if key.startswith(layout.BLOBS) or ("/_layers/" in key and leads_somewhere(world, key))]


def leads_somewhere(world: World, link: str) -> bool:
    digest = digest_of_link(link)
    return digest is not None and layout.blob_data(digest) not in (world.hurt or [])


def waits_for_push(finding: Finding) -> bool:
    return finding.outcome is Outcome.NEEDS_PUSH or finding.kind in {Kind.ORPHAN, Kind.CHILD_MISSING}


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, damages=st.integers(min_value=1, max_value=8))
def test_verification_without_repair_changes_nothing(seed: int, damages: int) -> None:
    async def check(world: World) -> None:
        before = await content(world)
        await world.verifications.run()
        assert await content(world) == before

    async def content(world: World) -> dict[str, bytes]:
        keys = await world.services.keys()
        own = layout.verification("full")
        return {key: await world.services.storage.read(key) for key in keys if not key.startswith(own)}

    run(seed, damages, check)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_repair_adds_no_links_when_rules_allow_missing_content(seed: int) -> None:
    async def check(world: World) -> None:
        world.verifications.rules = VerificationRules(requires_blobs=False)
        [key] = world.hurt or []
        await world.verifications.run(REPAIR)
        if "/_layers/" in key and key not in await world.services.keys():
            return
        assert await lost_without_cause(world) == []

    run(seed, 1, check)
