"""From nothing to a report, on this machine: phantom brains, shards, a diffusion model, a regressor, a study.

  brain-diffusion demo
  brain-diffusion demo --volumes     # whole heads: an autoencoder, diffusion of its latents, a report of three planes
  brain-diffusion demo --people 24 --steps 200 --out runs/quick --open

No download and no real person: the brains are made by `brain-diffusion phantom`. Each stage is an ordinary
command, printed before it runs. Interrupted, the same call continues where it stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from brain_diffusion_jax import files
from brain_diffusion_jax.cli.parsing import OptionGroup, option
from brain_diffusion_jax.errors import InputError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

# (what is there when the stage is finished, its command)
Stage = tuple[Path, list[str]]


def __getattr__(name: str) -> Any:
    """`demo_config`, which config files of release 0.1 import from here."""
    if name != "demo_config":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from brain_diffusion_jax.config.demo import demo_config

    return demo_config


class Options(OptionGroup):
    """What is demonstrated, how large, and where it goes."""

    resume: ClassVar[bool] = True  # what an interrupted call left is gone on with

    out: Path = option("folder to write (default runs/demo, or runs/demo-volumes)")
    volumes: bool = option("whole heads by latent diffusion instead of slices", False)
    people: int = option("phantom people (default 64)", 64)
    steps: int | None = option("training steps of the diffusion model (default: as its config says)", None)
    open: bool = option("open the report in a browser at the end", False)

    def default_out(self) -> Path:
        """Where it goes without --out."""
        return Path("runs/demo-volumes" if self.volumes else "runs/demo")


def run(options: Options) -> int:
    """Run every stage that is not finished; the exit status is that of the first that fails."""
    import shlex

    from brain_diffusion_jax.cli.main import main
    from brain_diffusion_jax.cli.output import open_page

    out = options.out
    write_configs(options, out)
    report = out / "report" / "report.html"
    for done, words in (volume_stages if options.volumes else slice_stages)(out, options.people):
        print(f"\n$ brain-diffusion {shlex.join(words)}", flush=True)
        if done.exists():
            print(f"{done} is there already")
            continue
        status = main(words, next_steps=False)
        if status:
            return status
        if done.name == "finished":
            done.touch()
    print(f"\nreport: {report.resolve()}")
    if options.open:
        open_page(report)
    return 0


def next_step(options: Options) -> str:
    """The model under sliders."""
    return f"brain-diffusion explore {options.out / 'model'} --age-model {options.out / 'age'}"


def configs_of(options: Options, out: Path) -> dict[str, ConfigDict]:
    """The configs of the stages by the names of their files; the last is that of the diffusion model."""
    if options.volumes:
        from brain_diffusion_jax.config import demo_volumes

        found = {
            "volumes": demo_volumes.volumes_config(),
            "autoencoder": demo_volumes.autoencoder_config(),
            "latent_diffusion": demo_volumes.latent_config(),
        }
        found["latent_diffusion"].codec.autoencoder = str(out / "autoencoder")
    else:
        from brain_diffusion_jax.config.demo import demo_config

        found = {"config": demo_config()}
    for config in found.values():
        config.cohort.root = str(out / "phantom")
        config.data.shards = str(out / "shards")
    return found


def write_configs(options: Options, out: Path) -> None:
    """The config files of all stages; refuses a folder that was begun with other settings."""
    from brain_diffusion_jax import config as configs

    if options.people < 12:
        raise InputError("command line", "--people", options.people, "12 or more, so that no split is empty")
    found = configs_of(options, out)
    if options.steps is not None:
        configs.apply_overrides(list(found.values())[-1], [f"train.num_steps={options.steps}"])
    texts = {name: configs.to_json(config) for name, config in found.items()}
    # The folder of a demonstration of slices is told by its only config, as in 0.1.
    begun, wanted = out / "demo.json", {"people": options.people, **(texts if options.volumes else texts["config"])}
    if not begun.exists():
        files.require_new_folder(out, "--out")
    elif files.read_json(begun, "demo") != wanted:
        expected = "the same --volumes, --people and --steps, or another --out"
        raise InputError(begun, "demo", "begun with other settings", expected)
    files.write_json(begun, wanted)
    for name, text in texts.items():
        files.write_json(out / f"{name}.json", text)


def slice_stages(out: Path, people: int) -> list[Stage]:
    """(what is there when the stage is finished, its command) in order."""
    config, model, age = (str(out / name) for name in ("config.json", "model", "age"))
    return [
        *_data_stages(out, people, config),
        (out / "model" / "finished", ["train", config, "--run", model]),
        (out / "age" / "age_report.json", ["train-age", config, "--run", age]),
        (out / "report" / "report.html", ["study", model, "--age-model", age, "--out", str(out / "report")]),
    ]


def volume_stages(out: Path, people: int) -> list[Stage]:
    """As `slice_stages`. Ventricles are measured, so that the study measures those of generated heads alike."""
    data, first, latent = (str(out / f"{name}.json") for name in ("volumes", "autoencoder", "latent_diffusion"))
    autoencoder, model, age = (str(out / name) for name in ("autoencoder", "model", "age"))
    return [
        *_data_stages(out, people, data, "--measure", "volumes"),
        (out / "autoencoder" / "autoencoder_report.json", ["train", first, "--run", autoencoder]),
        (out / "model" / "finished", ["train", latent, "--run", model]),
        (out / "age" / "age_report.json", ["train-age", data, "--run", age]),
        (out / "report" / "report.html", ["study", model, "--age-model", age, "--out", str(out / "report")]),
    ]


def _data_stages(out: Path, people: int, config: str, *how: str) -> list[Stage]:
    cohort, shards = str(out / "phantom"), str(out / "shards")
    return [
        (out / "phantom" / "participants.tsv", ["phantom", "--out", cohort, "--people", str(people)]),
        (out / "shards" / "contract.json", ["prepare", config, *how, "--out", shards]),
    ]
