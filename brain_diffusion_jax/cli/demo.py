"""From nothing to a report, on this machine: phantom brains, shards, a diffusion model, a regressor, a study.

  brain-diffusion demo
  brain-diffusion demo --people 24 --steps 200 --out runs/quick --open

No download and no real person: the brains are made by `brain-diffusion phantom`. Each stage is an ordinary
command, printed before it runs. Interrupted, the same call continues where it stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brain_diffusion_jax import files
from brain_diffusion_jax.cli.parsing import OptionGroup, option
from brain_diffusion_jax.errors import InputError


def __getattr__(name: str) -> Any:
    """`demo_config`, which config files of release 0.1 import from here."""
    if name != "demo_config":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from brain_diffusion_jax.config.demo import demo_config

    return demo_config


class Options(OptionGroup):
    """How large the demonstration is, and where it goes."""

    out: Path = option("folder to write (default runs/demo)", Path("runs/demo"))
    people: int = option("phantom people (default 64)", 64)
    steps: int = option("training steps of the diffusion model (default 600)", 600)
    open: bool = option("open the report in a browser at the end", False)


def run(options: Options) -> int:
    """Run every stage that is not finished; the exit status is that of the first that fails."""
    import shlex

    from brain_diffusion_jax.cli.main import main
    from brain_diffusion_jax.cli.output import open_page

    config_file = write_config(options)
    report = options.out / "report" / "report.html"
    for done, words in stages(options.out, config_file, options.people):
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


def write_config(options: Options) -> Path:
    """The config file of all stages; refuses a folder that was begun with other settings."""
    from brain_diffusion_jax import config as configs
    from brain_diffusion_jax.config.demo import demo_config

    if options.people < 12:
        raise InputError("command line", "--people", options.people, "12 or more, so that no split is empty")
    config = demo_config()
    config.cohort.root = str(options.out / "phantom")
    config.data.shards = str(options.out / "shards")
    configs.apply_overrides(config, [f"train.num_steps={options.steps}"])
    begun, wanted = options.out / "demo.json", {"people": options.people, **configs.to_json(config)}
    if not begun.exists():
        files.require_new_folder(options.out, "--out")
    elif files.read_json(begun, "demo") != wanted:
        expected = "the same --people and --steps, or another --out"
        raise InputError(begun, "demo", "begun with other settings", expected)
    files.write_json(begun, wanted)
    files.write_json(options.out / "config.json", configs.to_json(config))
    return options.out / "config.json"


def stages(out: Path, config_file: Path, people: int) -> list[tuple[Path, list[str]]]:
    """(what is there when the stage is finished, its command) in order."""
    cohort, shards, model, age, report = (str(out / name) for name in ("phantom", "shards", "model", "age", "report"))
    return [
        (out / "phantom" / "participants.tsv", ["phantom", "--out", cohort, "--people", str(people)]),
        (out / "shards" / "contract.json", ["prepare", str(config_file), "--out", shards]),
        (out / "model" / "finished", ["train", str(config_file), "--run", model]),
        (out / "age" / "age_report.json", ["train-age", str(config_file), "--run", age]),
        (out / "report" / "report.html", ["study", model, "--age-model", age, "--out", report]),
    ]
