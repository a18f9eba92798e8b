"""Configs: the defaults, config files with get_config(), and section.key=value overrides.

A section becomes a typed object at the door (`UNet(**config.model)`); below models/factory.py,
api/ and cli/ nobody sees a ConfigDict.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from brain_diffusion_jax import files
from brain_diffusion_jax.config_files import adopt, convert, describe, paths, read_python
from brain_diffusion_jax.errors import InputError, nearest
from brain_diffusion_jax.kinds import covers
from brain_diffusion_jax.seeds import check_seed


def base_config() -> ConfigDict:
    """The defaults that every config file starts from; None means "not set" and accepts any type."""
    c = ConfigDict()
    c.name = "run"
    c.seed = 0

    # The meaning of every condition, in order; see covariates.Schema.from_json.
    c.covariates = (
        {"name": "age", "unit": "years", "low": 18.0, "high": 96.0},
        {"name": "sex", "values": ("F", "M")},
        {"name": "slice", "unit": "index", "low": 0.0, "high": 90.0},
    )

    # Where people and scans come from; see data.sources.cohort.CohortSpec.
    c.cohort = ConfigDict(
        dict(
            layout="bids",  # bids | camcan | oasis1 | table
            root="",
            table="",
            file_pattern="",
            columns={},  # covariate or person/scan/file -> column of the table
            sex_codes={},  # code in the table -> "F" | "M"
            keep={},  # column -> value, or tuple of values, to keep
            bad_ages="refuse",  # refuse | drop | absent: numbers that are missing or unparsable (n/a, 89+)
            bad_rows="refuse",  # refuse | drop | absent: unknown codes; repeats that contradict each other
        )
    )
    # From volumes to pictures; see data.prepare.pipeline.Preparation.
    c.prepare = ConfigDict(
        dict(
            spacing_mm=(2.0, 2.0, 2.0),
            grid="mni",  # mni (91x109x91 at 2 mm) | native | (x, y, z)
            intensity=dict(rule="percentile", low=0.0, high=99.5, dtype="uint8", top=1.0),
            axis="axial",
            slices=dict(rule="range_index", start=25.0, stop=65.0, step=1.0, values=()),
            fit=dict(rule="none", size=None, method="area"),
            bad_scans="refuse",  # refuse | drop
        )
    )
    # Pictures without geometry instead of scans, where root is set; see data.sources.image_source.PicturesSpec.
    c.pictures = ConfigDict(
        dict(
            root="",  # ROOT/CLASS/*.jpg, ROOT/SPLIT/CLASS/*.jpg, or an .npz
            covariate="class",
            classes=(),
            bad_pictures="refuse",  # refuse | drop
            near_duplicate=0.97,
            copies="keep_one",  # keep_one | same_side
            size=64,
            crop=False,
            tilt=False,
            threshold=45.0,
            on_failure="keep",  # keep | drop | refuse: a picture on which a wanted step fails
        )
    )
    c.split = ConfigDict(dict(unit="person", seed=0, train=0.6, validation=0.2, test=0.2, stratify=()))
    c.data = ConfigDict(dict(shards="", batch_size=16, mirror=0.0, class_balance=None))

    # The network; see models.factory.
    c.model = ConfigDict(
        dict(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            channels=(256, 256, 512),
            num_res_blocks=(2, 2, 2),
            attention_levels=(False, False, True),
            num_head_channels=(0, 0, 512),
            norm_num_groups=32,
            norm_eps=1e-6,
            resblock_updown=False,
            transformer_num_layers=1,
            context_dim=64,  # width of the condition tokens; None: no cross-attention
            num_class_embeds=None,
            upcast_attention=False,
            dropout_cattn=0.0,
            include_fc=True,
            use_combined_linear=False,
            patch_size=1,
            coordinates=0,
            dtype="float32",
            remat="none",
            scan_blocks=False,
            fast_conv_gradient=True,
        )
    )
    # How conditions reach the network: tokens with learned nulls, or the raw token of R1.
    # mode: tokens | raw | scaled | none; width None: model.context_dim; see models.factory.conditioner.
    c.conditioning = ConfigDict(dict(mode="tokens", width=None, time_embedding=True, raw_null=-1.0, planes=False))
    # See diffusion.process.Process.
    c.diffusion = ConfigDict(
        dict(
            schedule="cosine",
            num_train_steps=1000,
            beta_start=1e-4,
            beta_end=2e-2,
            zero_terminal_snr=False,
            prediction="v",
            data_range=(-1.0, 1.0),
            clip_x0=True,
            clip_keeps_eps=False,
            clip_range=None,  # bounds of the clipping; None: data_range
        )
    )
    # See training.optimizer.OptimizerSettings.
    c.optimizer = ConfigDict(
        dict(
            name="adamw",
            learning_rate=2e-4,
            weight_decay=0.01,
            betas=(0.9, 0.999),
            eps=1e-8,
            warmup_steps=200,
            schedule="cosine",  # cosine | constant | plateau
            end_fraction=0.01,
            clip_norm=1.0,
            plateau_factor=0.5,
            plateau_patience=5,
        )
    )
    # See training.settings.TrainSettings.
    c.train = ConfigDict(
        dict(
            num_steps=1000,
            drop_probability=0.2,
            drop_each=0.0,
            loss="mse",
            loss_weight="none",
            ema_decay=0.999,
            power_ema=(),
            snapshot_every=0,
            accumulation=1,
            parallelism="jit",  # jit | pmap
            data_parallel=-1,
            fsdp=1,
            log_every=50,
            validate_every=250,
            validation_samples=256,
            checkpoint_every=500,
            keep_last=2,
            keep_best=1,
            keep_every=0,
            sample_every=500,
            on_nan="stop",  # stop | skip | rollback
            spike_factor=0.0,
            early_stopping=0,
            peak_tflops=0.0,
        )
    )
    # How `sample` and `study` draw where the command line does not say; see diffusion.plan.
    c.sample = ConfigDict(
        # 20 network calls were no worse than 1000 of DDPM on OASIS: docs/results.md, "Samplers against steps".
        dict(sampler="ddim", num_steps=20, eta=0.0, spacing="trailing", guidance_scale=3.0, batch_size=32)
    )
    # The WGAN-GP baseline; see cli train-gan. A step is one critic update.
    c.gan = ConfigDict(
        dict(
            channels=(128, 64, 32),
            latent=100,
            conditional=True,
            penalty=10.0,
            critic_steps=5,
            learning_rate=2e-4,
            betas=(0.5, 0.999),
            batch_size=64,
            num_steps=20_000,
            ema_decay=0.999,
        )
    )
    # The classifier that judges class fidelity; see cli train-class.
    c.class_model = ConfigDict(
        dict(
            target="",  # a categorical covariate; "" is the only one
            backbone="residual_cnn",
            width=1.0,
            dense=(),
            dropout=0.2,
            label_smoothing=0.1,
            learning_rate=3e-3,
            weight_decay=0.05,
            batch_size=32,
            num_steps=3200,
            validate_every=200,
            ema_decay=0.99,
            augmentation=dict(
                rotation=8.0, shift=0.045, scale=0.1, gain=0.15, gamma=0.2, noise=0.015, mirror=0.5, shear=0.08
            ),
        )
    )
    # The age regressor, and how `train-age` trains it; see models.deep_brain_net and cli.train_age.
    c.age_model = ConfigDict(
        dict(
            backbone="small_cnn",
            width=1.0,
            dense=(),
            dropout=0.3,
            pooling="avg",
            norm_eps=1e-3,
            backbone_options={},
            target_mean=0.0,  # set from the training people by train-age
            target_scale=1.0,
            bins=0,
            bin_low=10.0,
            bin_high=105.0,
            dtype="float32",
            target="age",
            pretrained="",  # a run folder of kind "age", such as one that `convert keras` wrote
            frozen=(),
            loss="mse",
            label_sigma=3.0,
            balance=0.5,
            augmentation=dict(rotation=4.0, shift=0.02, scale=0.04, gain=0.08, gamma=0.08, noise=0.01, mirror=0.5),
            optimizer="adamw",
            learning_rate=2e-3,
            weight_decay=0.01,
            schedule="cosine",
            plateau_factor=0.1,
            plateau_patience=5,
            clip_norm=1.0,
            ema_decay=0.9,  # batch statistics must fit the averaged weights
            batch_size=48,
            num_steps=3000,
            validate_every=250,
            early_stopping=0,
        )
    )
    # See evaluation.study.study_settings. dark_fraction: {rows, cols, threshold, slice} or None (a rule).
    c.study = ConfigDict(
        dict(
            guidance_scales=(1.0, 3.0, 5.0, 7.0),
            num_samples=0,
            bootstrap=200,
            seed=0,
            evaluated="test",
            ssim_pictures=0,
            neighbours=5,
            dark_fraction=None,
            reference=False,
        )
    )
    return c


def _parse(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _words(text: str, several: bool) -> str | tuple[str, ...]:
    """Text as a table spells it (21003 and TRUE are words); several: "0,0.5", "(a, b)" and "[a, b]" are more words."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if several and (isinstance(value, tuple | list) or text[:1] + text[-1:] in ("()", "[]")):
        if not isinstance(value, str) and all(isinstance(v, str) for v in value):
            return tuple(value)
        return tuple(word.strip(" '\"") for word in text.strip("()[]").split(",") if word.strip())
    return value if isinstance(value, str) else text


# Files and folders, whose ~ no shell expands after a "=".
_PATHS = ("data.shards", "cohort.root", "cohort.table", "pictures.root", "age_model.pretrained")


# Sections whose keys the user invents (columns of their own table).
_OPEN = ("cohort.columns", "cohort.sex_codes", "cohort.keep")


def _default(path: str) -> Any:
    """The default of section.key."""
    node: Any = base_config()
    for part in path.split("."):
        node = node[part]
    return node


def apply_overrides(
    config: ConfigDict,
    overrides: Sequence[str],
    where: object = "command line",
    *,
    reads: tuple[str, ...] | None = None,
) -> ConfigDict:
    """Set `section.key=value` in place; a typo lists the nearest keys, a wrong type says both types.

    reads: what the command reads (`kinds.KINDS`, `kinds.READS`); anything else is refused, since it would be lost.
    """
    for item in overrides:
        path, separator, text = item.partition("=")
        if not separator:
            raise InputError(where, item, "no '='", "section.key=value")
        node = config
        *sections, key = path.split(".")
        if ".".join(sections[:2]) in _OPEN and len(sections) > 2:
            raise InputError(where, path, "a dot in the name of a column or code", "a name without dots")
        for section in sections:
            inner = node.get(section) if isinstance(node, ConfigDict) else None
            if not isinstance(inner, ConfigDict):
                raise InputError(where, path, "an unknown key", nearest(path, paths(config)))
            node = inner
        if reads is not None and (key in node or ".".join(sections) in _OPEN) and not covers(reads, path):
            read = [known for known in paths(config) if covers(reads, known)]
            raise InputError(where, path, "a setting that this command does not read", nearest(path, read))
        if ".".join(sections) in _OPEN:
            with node.unlocked(), node.ignore_type():
                node[key] = _words(text, several=sections[-1] == "keep")
            continue
        if key not in node or isinstance(node[key], ConfigDict):
            raise InputError(where, path, "an unknown key", nearest(path, paths(config)))
        old, new = node[key], _parse(text)
        if isinstance(old, str) and not (path.endswith("grid") and isinstance(new, tuple)):
            new = text  # a word such as "1" or "none" stays a word...
            if text == "None" and _default(path) is None:  # ...but what may be unset can be unset again
                new = None
        value = convert(old, new, where, path)
        if key == "seed":
            check_seed(value, where, path)
        with node.ignore_type():
            node[key] = value
    for section, key in (path.split(".") for path in _PATHS):
        if config[section][key]:
            config[section][key] = os.path.expanduser(config[section][key])
    return config


def _check_seeds(config: ConfigDict, where: object, prefix: str = "") -> None:
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            _check_seeds(value, where, f"{prefix}{key}.")
        elif key == "seed":
            check_seed(value, where, f"{prefix}{key}")


def load_config(path: str | Path, overrides: Sequence[str] = (), *, reads: tuple[str, ...] | None = None) -> ConfigDict:
    """The locked config of a `configs/*.py` file, or of a run folder's config.json, with overrides.

    reads: as of `apply_overrides`.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "config.json"
    if not path.exists():
        beside = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise InputError(
            path,
            "config",
            "no such file",
            f"a config file; {nearest(path.name, beside)}" if beside else "a config file",
        )
    if path.suffix == ".json":
        config = from_json(files.read_json(path, "config"), path)
    else:
        config = base_config()
        known = paths(config)
        adopt(config, read_python(path, known).to_dict(), path, known)
        _check_seeds(config, path)
    config.lock()
    return apply_overrides(config, overrides, reads=reads)


def to_json(config: ConfigDict) -> dict[str, Any]:
    """A config as plain JSON values."""
    return json.loads(json.dumps(config.to_dict()))


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return value


def from_json(items: dict[str, Any], where: object = "config") -> ConfigDict:
    """The inverse of `to_json`; keys added to base_config since then get their defaults."""
    config = base_config()
    _merge(config, _tuples(items), where)
    return config


def _merge(config: ConfigDict, items: dict[str, Any], where: object, section: str = "") -> None:
    with config.unlocked(), config.ignore_type():
        for key, value in items.items():
            path, old = f"{section}{key}", config.get(key)
            if "." in key:
                raise InputError(where, path, "a dot in a key", "a word")
            if not isinstance(old, ConfigDict):
                open_section = section.removesuffix(".") in _OPEN
                config[key] = value if open_section else _checked(old, value, where, path)
            elif isinstance(value, dict):
                _merge(old, value, where, f"{path}.")
            else:
                raise InputError(where, path, describe(value), "a section")


def _checked(old: Any, new: Any, where: object, field: str) -> Any:
    """`convert`, also of what a tuple holds where the default says its type."""
    value = convert(old, new, where, field)
    if isinstance(old, tuple) and isinstance(value, tuple) and len({type(v) for v in old}) == 1:
        for item in value:
            convert(old[0], item, where, field)
    return value
