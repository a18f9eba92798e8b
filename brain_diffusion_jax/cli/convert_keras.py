"""Convert a Keras age regressor (.h5 of Keras 2 or 3, tf_keras, or .keras) to a run folder.

  brain-diffusion convert keras DeepBrainNet_VGG16.h5
  brain-diffusion convert keras DeepBrainNet_VGG16.h5 --out runs/deepbrainnet --json

Needs neither TensorFlow nor Keras and executes nothing that the file holds. The five published
DeepBrainNet files are recognised by their sha256. What cannot be mapped is listed, and nothing is written.
"""

from __future__ import annotations

from pathlib import Path

from brain_diffusion_jax.cli.parsing import OptionGroup, argument, option


class Options(OptionGroup):
    """What is converted, and where it goes."""

    file: Path = argument("the .h5 or .keras file")
    out: Path = option("run folder to write (new; default: runs/NAME of the file)", metavar="RUN")
    json: bool = option("print what was found as JSON", False)

    def default_out(self) -> Path:
        """The run folder without --out."""
        return Path("runs") / self.file.stem


def next_step(options: Options) -> str:
    """Ages with the converted regressor."""
    return f"brain-diffusion predict-age {options.out} SCAN.nii.gz"


def run(options: Options) -> int:
    """Write the run folder and print what the file holds."""
    import json

    from brain_diffusion_jax.api.conversions import convert_keras

    converted = convert_keras(options.file, options.out)
    if options.json:
        print(json.dumps({"out": str(options.out), **converted.source, "age_model": converted.age_model}))
    else:
        print("\n".join([*converted.findings, f"written: {options.out}"]))
    return 0
