"""Colour images and volumes go through shards, loader, train step, sampler, grid and sample folder like grey slices."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from brain_diffusion_jax.contract import Contract, Grid, Intensity
from brain_diffusion_jax.covariates import Condition, Schema
from brain_diffusion_jax.data import picture_grid
from brain_diffusion_jax.data.prepare.intensity import Window
from brain_diffusion_jax.data.sample_folder import SampleFolder, read_pictures
from brain_diffusion_jax.data.shards.loader import Loader
from brain_diffusion_jax.data.shards.reader import read_all
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.shards.writer import write_shards
from brain_diffusion_jax.data.sources.source import Entry, Examples
from brain_diffusion_jax.diffusion import levels, samplers, sweep
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.models.conditioning_config import ConditioningConfig
from brain_diffusion_jax.models.unet_config import ModelConfig
from brain_diffusion_jax.tasks.diffusion import loss as diffusion_loss
from brain_diffusion_jax.tasks.gan import loss as gan_loss
from brain_diffusion_jax.tasks.gan.config import GanModel
from brain_diffusion_jax.training import state, step

SCHEMA = Schema.from_json([{"name": "age", "unit": "years", "low": 18, "high": 96}])
AFFINE = ((20.0, 0, 0, -70.0), (0, 20.0, 0, -70.0), (0, 0, 20.0, -60.0), (0, 0, 0, 1.0))
FIXED = Intensity("fixed", 0.0, 200.0, "uint8")
LEAST_SQUARES = {"channels": (8, 8), "critic_channels": (4,), "latent": 2, "width": 4}
COLOUR = Contract(SCHEMA, (8, 6), kind="pictures", channels=3)
VOLUMES = Contract(SCHEMA, (8, 6, 4), kind="volumes", grid=Grid("box", (8, 6, 4), AFFINE), intensity=FIXED)


@dataclasses.dataclass(frozen=True)
class Arrays:
    """A source of made-up images, one an entry, whose first pixels tell which entry it is."""

    known: Contract
    count: int = 8
    where: Path = Path("arrays")
    dropped: Sequence[tuple[str, str]] = ()
    drop_bad: bool = False

    def entries(self) -> list[Entry]:
        return [Entry(f"{i}", f"p{i}", {"age": 20.0 + i}, self.where / f"{i}") for i in range(self.count)]

    def part_name(self, entry: Entry) -> str:
        return f"{entry.id}.npz"

    def prepare(self, entry: Entry) -> Examples:
        image = np.random.default_rng(int(entry.id)).integers(0, 256, self.known.shape, np.uint8)
        return Examples(image[None], np.zeros(1, np.int32), {}, Window(0.0, 200.0))

    def contract(self) -> Contract:
        return self.known


@pytest.fixture(scope="module", params=[COLOUR, VOLUMES], ids=["three channels", "volumes"])
def contract(request) -> Contract:
    return request.param


@pytest.fixture(scope="module")
def shards(contract, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "set"
    write_shards(folder, Arrays(contract), SplitSpec(train=0.75, validation=0.25, test=0.0, seed=2))
    return folder


def test_shards_hold_what_was_made(contract, shards):
    known = Contract.load(shards)
    assert known.shape == contract.shape
    assert known.kind == contract.kind
    everything = read_all(shards, "train")
    for image, name in zip(everything["image"], everything["scan"], strict=True):
        np.testing.assert_array_equal(image, Arrays(contract).prepare(Entry(name, "", {}, Path())).images[0])


def test_the_loader_mirrors_left_and_right(contract, shards):
    plain, mirrored = (next(Loader(shards, "train", 4, seed=3, mirror=m))["image"] for m in (0.0, 1.0))
    axis = 1 + (0 if contract.kind == "volumes" else 1)
    np.testing.assert_array_equal(np.flip(plain, axis), mirrored)


def test_a_train_step_and_a_sampler(contract, shards, tmp_path):
    known = Contract.load(shards)
    model = {
        **{"spatial_dims": len(known.image_size), "in_channels": known.channels, "out_channels": known.channels},
        **{"channels": (4,), "num_res_blocks": 1, "attention_levels": False, "num_head_channels": 4},
        **{"norm_num_groups": 2, "context_dim": 4, "fast_conv_gradient": False},
    }
    module = factory.diffusion_network(ModelConfig(**model), ConditioningConfig("tokens", 4), known.schema)
    process, settings = Process(num_train_steps=50), diffusion_loss.DiffusionLoss(batch_size=4)
    optimizer = optax.adam(1e-2)
    init = diffusion_loss.make_init(module, known.shape, len(known.schema.names), settings)
    train = jax.jit(step.build_step(diffusion_loss.make_loss(module, process, settings), optimizer))
    before = state.create(init(jax.random.key(0)), optimizer)
    batch = {**next(Loader(shards, "train", 4)), "index": np.arange(4, dtype=np.int32)}
    after, metrics = train(before, batch, jax.random.key(1))
    assert np.isfinite(metrics["loss"])
    assert metrics["accepted"] == 1

    def network(params, x, t, condition):
        return module.apply({"params": params}, x, t, *condition, train=False)

    denoise = process.denoise_fn(jax.tree_util.Partial(network, after.params))
    condition = Condition(*(jnp.asarray(a) for a in known.schema.encode([{"age": 30}, {}])))
    noise = jax.random.normal(jax.random.key(2), (2, *known.shape))
    points = levels.select(process.table, 2, "trailing")
    made = sweep.sweep(denoise, samplers.get("ddim"), points, noise, condition, jax.random.key(3), jnp.asarray([2.0]))
    images = np.asarray(process.to_unit(made))[0]
    assert images.shape == (2, *known.shape)

    sheet = picture_grid.tile(images, columns=2, gap=1)
    rows, cols = (6, 8) if known.kind == "volumes" else (8, 6)
    assert sheet.shape == ((rows, 2 * cols + 1, 3) if known.channels == 3 else (rows, 2 * cols + 1))
    folder = SampleFolder(tmp_path / "samples", {"seed": 1}, known)
    folder.write(0, images, [{"age": 30}, {}], seed=1, guidance_scale=2.0, columns=["age"])
    again, rows = read_pictures(tmp_path / "samples")
    np.testing.assert_allclose(again, images, atol=1e-5 if known.kind == "volumes" else 0.51 / 255)
    assert [row["age"] for row in rows] == ["30.0", ""]


@pytest.mark.parametrize(
    ("settings", "metrics_of"),
    [
        (GanModel(channels=(8,), latent=2, critic_steps=1), ("wasserstein", "penalty")),
        (GanModel(objective="lsgan", **LEAST_SQUARES), ("critic",)),
        (GanModel(objective="vae-gan", **LEAST_SQUARES), ("critic", "kl", "features")),
    ],
    ids=["wgan-gp", "lsgan", "vae-gan"],
)
def test_a_gan_learns_from_it(shards, settings, metrics_of):
    known = Contract.load(shards)
    game = settings.chosen.game(known.shape, known.schema.cardinalities)
    optimizer = gan_loss.make_optimizer(settings.chosen)
    before = state.create(gan_loss.make_init(game.module, len(known.schema.names))(jax.random.key(0)), optimizer)
    train = jax.jit(step.build_step(game.loss, optimizer))
    batch = {**next(Loader(shards, "train", 4)), "index": np.arange(4, dtype=np.int32)}
    after, metrics = train(before, batch, jax.random.key(1))
    assert all(np.isfinite(metrics[name]) for name in (*metrics_of, "generator"))
    for network in ("generator", "critic"):
        moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), before.params[network], after.params[network])
        assert max(jax.tree.leaves(moved)) > 0


def test_an_entry_of_another_shape_is_named(contract, tmp_path):
    class Odd(Arrays):
        def prepare(self, entry: Entry) -> Examples:
            examples = super().prepare(entry)
            return examples if entry.id != "3" else examples._replace(images=examples.images[:, 1:])

    with pytest.raises(InputError, match=r"arrays/3: picture size: found \(7, 6.*expected \(8, 6"):
        write_shards(tmp_path / "out", Odd(contract), SplitSpec(train=1.0, validation=0.0, test=0.0))


def test_images_without_slices_cannot_be_split_by_slice(contract, tmp_path):
    split = SplitSpec(unit="slice", train=0.5, validation=0.0, test=0.5)
    with pytest.warns(UserWarning, match="slice"), pytest.raises(InputError, match=f"{contract.kind} have no slices"):
        write_shards(tmp_path / "out", Arrays(contract), split)
