"""From nothing to a report, on this machine: phantom brains, shards, a diffusion model, a regressor, a study.

No download and no real person: the brains are made by `brain-diffusion phantom`. Each stage is an ordinary
command, printed before it runs. Interrupted, the same call continues where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from brain_diffusion_jax import files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="runs/demo", help="folder to write (default runs/demo)")
    parser.add_argument("--people", type=int, default=64, help="phantom people (default 64)")
    parser.add_argument("--steps", type=int, default=600, help="training steps of the diffusion model (default 600)")
    parser.add_argument("--open", action="store_true", help="open the report in a browser at the end")


def demo_config() -> Any:
    """A small network on two axial slices of the phantom cohort; minutes on two CPU cores."""
    from brain_diffusion_jax.config import base_config

    c = base_config()
    c.name = "phantom"
    c.covariates = (
        {"name": "age", "unit": "years", "low": 18.0, "high": 90.0},
        {"name": "sex", "values": ("F", "M")},
        {"name": "slice", "unit": "index", "low": 0.0, "high": 90.0},
    )
    c.cohort.layout = "bids"
    c.prepare.slices.rule = "list_mm"
    c.prepare.slices.values = (20.0, 30.0)
    c.prepare.fit.rule, c.prepare.fit.size = "resize", (55, 46)
    c.split.train, c.split.validation, c.split.test = 0.6, 0.15, 0.25
    c.data.batch_size = 8
    c.data.mirror = 0.5
    # Pixels in 2x2 patches: the first level works at 28x23.
    c.model.patch_size = 2
    c.model.channels = (64, 96)
    c.model.num_res_blocks = (1, 1)
    c.model.attention_levels = (False, True)
    c.model.num_head_channels = (0, 32)
    c.model.norm_num_groups = 16
    c.model.coordinates = 3
    c.diffusion.prediction = "x0"
    c.train.loss_weight = "truncated_snr"
    c.optimizer.learning_rate = 1e-3
    c.optimizer.warmup_steps = 50
    c.train.num_steps = 600
    c.train.ema_decay = 0.995
    c.train.validate_every = 300
    c.train.validation_samples = 24
    c.train.checkpoint_every = 300
    c.train.sample_every = 300
    c.sample.num_steps = 20
    c.age_model.width = 0.5
    c.age_model.num_steps = 300
    c.age_model.batch_size = 32
    c.age_model.validate_every = 50
    c.study.guidance_scales = (1.0, 3.0, 5.0)
    c.study.bootstrap = 100
    return c


def run(arguments: argparse.Namespace) -> int:
    import shlex

    from brain_diffusion_jax import config as configs
    from brain_diffusion_jax.cli.main import main
    from brain_diffusion_jax.errors import InputError

    if arguments.people < 12:
        raise InputError("command line", "--people", arguments.people, "12 or more, so that no split is empty")
    out = Path(arguments.out)
    config = demo_config()
    config.cohort.root = str(out / "phantom")
    config.data.shards = str(out / "shards")
    configs.apply_overrides(config, [f"train.num_steps={arguments.steps}"])
    file = out / "demo.json"
    wanted = {"people": arguments.people, **configs.to_json(config)}
    if file.exists():
        if files.read_json(file, "demo") != wanted:
            raise InputError(
                file, "demo", "begun with other settings", "the same --people and --steps, or another --out"
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(out, "--out", "other files", "a new or empty folder")
    files.write_json(file, wanted)
    config_file = out / "config.json"
    files.write_json(config_file, configs.to_json(config))

    stages: list[tuple[Path, list[str]]] = [
        (
            out / "phantom" / "participants.tsv",
            ["phantom", "--out", str(out / "phantom"), "--people", str(arguments.people)],
        ),
        (out / "shards" / "contract.json", ["prepare", str(config_file), "--out", str(out / "shards")]),
        (out / "model" / "finished", ["train", str(config_file), "--run", str(out / "model")]),
        (out / "age" / "age_report.json", ["train-age", str(config_file), "--run", str(out / "age")]),
        (
            out / "report" / "report.html",
            ["study", str(out / "model"), "--age-model", str(out / "age"), "--out", str(out / "report")],
        ),
    ]
    for done, words in stages:
        print(f"\n$ brain-diffusion {shlex.join(words)}", flush=True)
        if done.exists():
            print(f"{done} is there already")
            continue
        status = main(words)
        if status:
            return status
        if done.name == "finished":
            done.touch()
    report = out / "report" / "report.html"
    print(f"\nreport: {report.resolve()}")
    if arguments.open:
        import webbrowser

        webbrowser.open(report.resolve().as_uri())
    return 0
