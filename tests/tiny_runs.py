"""Run folders with small random networks, for tests of what stands on a trained model."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.contract import Contract, Fit, Grid, Intensity, SliceSet
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.models.autoencoder import Autoencoder
from brain_diffusion_jax.tasks.latent_diffusion.frozen import CODEC, codec_state
from brain_diffusion_jax.tasks.model import hash_of
from brain_diffusion_jax.tasks.opening import open_run
from brain_diffusion_jax.tasks.spec import DataInfo, spec
from brain_diffusion_jax.training.run_folder import checkpoints

SIZE = (14, 12)
MODEL = [
    "model.channels=8,8",
    "model.num_res_blocks=1,1",
    "model.attention_levels=(False,True)",
    "model.num_head_channels=(0,8)",
    "model.norm_num_groups=4",
    "model.context_dim=8",
    "conditioning.width=8",
    "sample.num_steps=3",
    "diffusion.num_train_steps=20",
    "age_model.width=0.1",
    "age_model.dense=(4,)",
    "gan.channels=(8,8)",
    "gan.latent=4",
    "class_model.backbone=small_cnn",
    "class_model.width=0.1",
    "class_model.dense=(4,)",
]
CLASSES = "covariates=({'name': 'kind', 'values': ('round', 'square')},)"


def contract(schema: Schema) -> Contract:
    """Axial slices of a coarse grid over the MNI box."""
    affine = ((14.0, 0, 0, -84), (0, 15.0, 0, -120), (0, 0, 20.0, -72), (0, 0, 0, 1))
    return Contract(
        schema=schema,
        image_size=SIZE,
        spacing_mm=(14.0, 15.0, 20.0),
        grid=Grid("test", (12, 14, 8), affine),
        slices=SliceSet("axial", rule="range_index", indices=(2, 3, 4), positions_mm=(-32, -12, 8)),
        fit=Fit("none", SIZE),
        intensity=Intensity("fixed", 0.0, 2.55),
    )


def make_config(*overrides: str):
    """A config small enough for tests."""
    return configs.apply_overrides(configs.base_config(), [*MODEL, *overrides])


def _random(tree, scale: float = 0.2):
    """Parameters that make the output depend on everything (zero-initialised layers would hide mistakes)."""
    leaves, structure = jax.tree.flatten(tree)
    rng = np.random.default_rng(0)
    noisy = [np.asarray(leaf) + scale * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    return jax.tree.unflatten(structure, noisy)


def bare_run(folder: Path, kind: str, *overrides: str) -> Path:
    """A run folder whose weights belong to no network: quick, for what looks at a folder and opens no model."""
    config = make_config(*overrides)
    params = {"dense": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}
    told = contract(Schema.from_json(config.covariates))
    return checkpoints.write_run(folder, kind, params, configs.to_json(config), told)


def diffusion_run(folder: Path, *overrides: str, with_contract: bool = True, given: Contract | None = None) -> Path:
    """A run folder of kind "diffusion". given: a contract, else one of SIZE."""
    config = make_config(*overrides)
    schema = given.schema if given else Schema.from_json(config.covariates)
    built = spec("diffusion").read(config)
    module = factory.diffusion_network(built.model, built.conditioning, schema)
    x, n = jnp.zeros((1, *(given.shape if given else (*SIZE, 1)))), len(schema.names)
    params = module.init(jax.random.key(0), x, jnp.zeros(1), jnp.zeros((1, n)), jnp.ones((1, n), bool))["params"]
    stored = configs.to_json(config)
    return checkpoints.write_run(
        folder, "diffusion", _random(params), stored, (given or contract(schema)) if with_contract else None
    )


def age_run(folder: Path, *overrides: str) -> Path:
    """A run folder of kind "age"."""
    config = make_config(*overrides)
    module = factory.age_network(spec("age").read(config).age_model)
    variables = dict(module.init(jax.random.key(0), jnp.zeros((1, *SIZE, 1))))
    params = _random(variables.pop("params"), 0.05)
    stored = configs.to_json(config)
    return checkpoints.write_run(
        folder, "age", params, stored, contract(Schema.from_json(config.covariates)), variables
    )


OBJECTIVES = {
    name: (f"gan.objective={name}", "gan.critic_channels=(4,)", "gan.width=4") for name in ("lsgan", "vae-gan")
}


def gan_run(folder: Path, *overrides: str, given: Contract | None = None) -> Path:
    """A run folder of kind "gan". given: a contract, else one of SIZE."""
    config = make_config(*overrides)
    told = given or contract(Schema.from_json(config.covariates))
    gan = spec("gan").read(config).gan.chosen.game(told.shape, told.schema.cardinalities).module
    n = len(told.schema.names)
    z = jnp.zeros((1, gan.generator.latent))
    params = gan.init(jax.random.key(0), z, jnp.zeros((1, n)), jnp.ones((1, n), bool))["params"]
    return checkpoints.write_run(folder, "gan", _random(params), configs.to_json(config), told)


AUTOENCODER = [
    "autoencoder.channels=(8,)",
    "autoencoder.num_res_blocks=(1,)",
    "autoencoder.attention_levels=(False,)",
    "autoencoder.latent_channels=2",
    "autoencoder.norm_num_groups=4",
]


def autoencoder_run(folder: Path, *overrides: str, given: Contract | None = None) -> Path:
    """A run folder of kind "autoencoder", with the latent scale of a finished training. given: a contract."""
    config = configs.apply_overrides(configs.base_config("autoencoder"), [*AUTOENCODER, *overrides])
    told = given or contract(Schema.from_json(config.covariates))
    module = Autoencoder(spec("autoencoder").read(config).autoencoder, len(told.image_size), told.channels)
    params = {"generator": _random(module.init(jax.random.key(0), jnp.zeros((1, *told.shape)))["params"], 0.05)}
    z = module.config.latent_channels
    config.latent.update(
        {"mean": (0.1,) * z, "std": (0.5,) * z, "kl": (3.0,) * z, "spread": (5.0,) * z}
        | {"weights": hash_of({"params": params})}
    )
    return checkpoints.write_run(folder, "autoencoder", params, configs.to_json(config), told)


def latent_run(folder: Path, *overrides: str, given: Contract | None = None) -> Path:
    """A run folder of kind "latent_diffusion", on the autoencoder of `autoencoder_run` beside it. given: a contract."""
    run = autoencoder_run(folder.with_name(f"{folder.name}-autoencoder"), given=given)
    model = open_run(run)
    own = [line for line in MODEL if line.split(".")[0] in ("model", "conditioning", "sample", "diffusion")]
    changes = [*own, f"codec.autoencoder={run}", *overrides]
    config = configs.apply_overrides(configs.base_config("latent_diffusion"), changes)
    declared = spec("latent_diffusion")
    told = model.contract
    built = declared.resolve(declared.read(config), DataInfo(told.schema, told.image_size, channels=told.channels))
    module = factory.diffusion_network(built.model, built.conditioning, told.schema)
    x, n = jnp.zeros((1, *model.latent_shape)), len(told.schema.names)
    params = module.init(jax.random.key(0), x, jnp.zeros(1), jnp.zeros((1, n)), jnp.ones((1, n), bool))["params"]
    state = jax.tree.map(np.asarray, {CODEC: codec_state(built.codec, model.network_params)})
    return checkpoints.write_run(folder, "latent_diffusion", _random(params), declared.record(built), told, state)


def class_run(folder: Path, *overrides: str) -> Path:
    """A run folder of kind "class"."""
    config = make_config(*overrides)
    told = contract(Schema.from_json(config.covariates))
    module = factory.class_network(spec("class").read(config).class_model, len(told.schema.covariates[0].values))
    variables = dict(module.init(jax.random.key(0), jnp.zeros((1, *SIZE, 1)), method="raw"))
    params = _random(variables.pop("params"), 0.05)
    return checkpoints.write_run(folder, "class", params, configs.to_json(config), told, variables)
