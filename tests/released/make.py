"""Makes the run folders of a released version that later versions must open: run it with that version installed.

  python tests/released/make.py FOLDER        (v0.1.tar.xz: made by the commit of version 0.1.0)

Phantom brains in 16x12 pixels; one run of each kind, one of each interrupted at step 7 of 12, a study, and what the
models answer (expected.npz). No real person is in it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np

SMALL = {
    "diffusion": [
        "model.channels=4,8",
        "model.num_res_blocks=1,1",
        "model.attention_levels=(False,True)",
        "model.num_head_channels=(0,8)",
        "model.norm_num_groups=2",
        "model.context_dim=4",
        "conditioning.width=4",
        "train.num_steps=12",
        "train.drop_each=0.1",
        "train.power_ema=0.1,",
    ],
    "age": ["age_model.width=0.1", "age_model.dense=(4,)", "age_model.num_steps=12", "age_model.validate_every=4"],
    "class": [
        "class_model.backbone=small_cnn",
        "class_model.width=0.1",
        "class_model.dense=(4,)",
        "class_model.target=sex",
        "class_model.num_steps=12",
        "class_model.validate_every=4",
    ],
    "gan": ["gan.channels=(8,8)", "gan.latent=4", "gan.num_steps=12", "gan.batch_size=8", "gan.critic_steps=2"],
}
SHARED = [
    "data.shards=shards",
    "data.batch_size=8",
    "age_model.batch_size=8",
    "class_model.batch_size=8",
    "train.log_every=1",
    "train.validate_every=4",
    "train.checkpoint_every=4",
    "train.validation_samples=8",
    "train.sample_every=0",
    "train.keep_last=1",
    "train.keep_best=0",
    "sample.num_steps=3",
    "study.bootstrap=10",
    "study.guidance_scales=1.0,3.0",
]
PREPARE = [
    "prepare.slices.rule=list_mm",
    "prepare.slices.values=(20.0,30.0)",
    "prepare.fit.rule=resize",
    "prepare.fit.size=(16,12)",
    "cohort.root=phantom",
]
COMMANDS = {"diffusion": "train", "age": "train-age", "class": "train-class", "gan": "train-gan"}


def interrupted(words: list[str], after: int) -> None:
    """A command that gets SIGTERM when it asks for the batch after `after`, in a process of its own."""
    child = os.fork()
    if child == 0:
        from brain_diffusion_jax.cli.main import main
        from brain_diffusion_jax.data.shards.loader import Loader

        plain, asked = Loader.__next__, []

        def following(self):
            asked.append(0)
            if len(asked) == after:
                os.kill(os.getpid(), signal.SIGTERM)
            return plain(self)

        Loader.__next__ = following
        os._exit(main(words))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 75, code


def command(words: list[str]) -> None:
    from brain_diffusion_jax.cli.main import main

    child = os.fork()
    if child == 0:
        os._exit(main(words))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, words


def answers() -> dict[str, np.ndarray]:
    """What the models say to fixed questions."""
    import brain_diffusion_jax as bdj

    conditions = [{"age": 25.0, "sex": "F", "slice": 46.0}, {"age": 80.0}, {}]
    images = np.random.default_rng(0).uniform(0, 1, (3, 16, 12, 1)).astype(np.float32)
    diffusion, age, classes, gan = (bdj.load(f"runs/{kind}") for kind in SMALL)
    found = {
        "ddim": diffusion.sample(conditions, guidance_scale=3.0, num_steps=4, seed=5),
        "ddpm": diffusion.sample(conditions, guidance_scale=1.0, sampler="ddpm", num_steps=4, seed=5),
        "sweep": diffusion.sweep(conditions, [1, 3], num_steps=3),
        "gan": gan.sample(conditions, seed=5),
        "ages": age.predict(images),
        "age_features": age.features(images),
        "probabilities": classes.probabilities(images),
        "class_features": classes.features(images),
    }
    for kind in SMALL:  # the losses of a run that nothing interrupted
        rows = [json.loads(line) for line in (Path("runs") / kind / "metrics.jsonl").read_text().splitlines()]
        found[f"losses_{kind}"] = np.asarray([row["loss"] for row in rows if "loss" in row], np.float64)
    return {name: np.asarray(value) for name, value in found.items()}


def main(folder: Path) -> None:
    folder.mkdir(parents=True)
    os.chdir(folder)
    command(["phantom", "--out", "phantom", "--people", "16"])
    config = Path("config.py")
    config.write_text("from brain_diffusion_jax.config import base_config as get_config\n", encoding="utf-8")
    command(["prepare", str(config), *PREPARE, "--out", "shards"])
    for kind, overrides in SMALL.items():
        words = [COMMANDS[kind], str(config), *SHARED, *overrides, "--quiet", "--run"]
        command([*words, f"runs/{kind}"])
        interrupted([*words, f"interrupted/{kind}"], after=7)
    command(["study", "runs/diffusion", "--age-model", "runs/age", "--out", "study", "--steps", "3", "--num", "6"])
    np.savez_compressed("expected.npz", **answers())
    shutil.rmtree("phantom")  # its slices are in the shards
    for path in [*Path().rglob("*.html"), *Path().rglob("events.out*"), *Path().rglob("*.png")]:
        path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
