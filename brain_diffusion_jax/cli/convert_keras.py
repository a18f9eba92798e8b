"""Convert a Keras age regressor (.h5 of Keras 2 or 3, tf_keras, or .keras) to a run folder.

  brain-diffusion convert keras DeepBrainNet_VGG16.h5 --out runs/deepbrainnet

Needs neither TensorFlow nor Keras and executes nothing that the file holds. The five published
DeepBrainNet files are recognised by their sha256. What cannot be mapped is listed, and nothing is written.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="the .h5 or .keras file")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="run folder to write (new)")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def run(arguments: argparse.Namespace) -> int:
    import json

    converted = convert_file(arguments.file, arguments.out)
    if arguments.json:
        print(json.dumps({"out": str(arguments.out), **converted.source, "age_model": converted.age_model}))
    else:
        print("\n".join([*converted.findings, f"written: {arguments.out}"]))
    return 0


def convert_file(file: Path, out: Path) -> Any:
    """Write `file` as run folder `out`; returns conversion.keras_convert.Converted. No contract: see predict-age."""
    from brain_diffusion_jax import config as configs
    from brain_diffusion_jax import files
    from brain_diffusion_jax.conversion.keras_convert import convert
    from brain_diffusion_jax.training.run_folder.checkpoints import write_whole_run

    files.require_new_folder(out, "--out")
    converted = convert(file)
    config = configs.kind_config(configs.base_config("age"), "age")
    config.name = out.name
    with config.unlocked(), config.ignore_type():
        config.age_model.update(converted.age_model)
    items = {**configs.to_json(config), "source": converted.source, "preparation": "deepbrainnet"}
    # The published files predict years of people of any age: no standardisation on top.
    state = {k: v for k, v in converted.variables.items() if k != "params"}
    write_whole_run(out, "age", converted.variables["params"], items, None, model_state=state)
    return converted
