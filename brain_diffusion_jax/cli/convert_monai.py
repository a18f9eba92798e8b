"""MONAI's DiffusionModelUNet to a run folder, and a run folder back to a MONAI state dict.

  brain-diffusion convert monai unet.pth --out runs/unet --head-channels 0,0,512 --norm-groups 32 --verify
  brain-diffusion convert monai unet.pth --out runs/reference --config configs/camcan/reference.py
  brain-diffusion convert monai runs/mine --to unet.pth --names old

Reads .pt and .pth (bare, or under model_state_dict, unet_state_dict, state_dict, model or ema_state_dict, the
first that is there; --inside picks another; tensors only, nothing in the file is executed) and .safetensors,
with the names of MONAI >= 1.4 or of GenerativeModels. Shapes tell
most of the architecture; head channels and norm groups come from the options or from --config.
--config also gives the meaning of the condition and the noise schedule, --contract the data contract;
without them only the raw network can be called. Every tensor must find its place, or nothing is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brain_diffusion_jax.cli.options import WeightOptions
from brain_diffusion_jax.cli.parsing import argument, option
from brain_diffusion_jax.errors import InputError


class Options(WeightOptions):
    """What is converted, which way, and what its shapes do not tell. --checkpoint and --no-ema go with --to."""

    source: Path = argument("weights file; or a run folder, with --to", metavar="IN")
    out: Path | None = option("run folder to write (new; default: runs/NAME of the file)", metavar="RUN")
    to: Path | None = option("write a MONAI state dict (.pt, .pth, .safetensors)", metavar="FILE")
    names: str = option("with --to: new (MONAI >= 1.4, default) or old", "new")
    head_channels: tuple[int, ...] | None = option("num_head_channels of every level", metavar="N,N,..")
    norm_groups: int | None = option("norm_num_groups (MONAI's default is 32)")
    norm_eps: float | None = option("default 1e-6, as in MONAI")
    upcast_attention: bool = option("attention in float32 under a 16-bit dtype", False)
    prefix: str | None = option("the part of the file's keys to take, such as unet.")
    inside: str | None = option("the state dict of a checkpoint to take, if it holds several", metavar="KEY")
    config: Path | None = option("configs/NAME.py that says what the network was trained on")
    contract: Path | None = option("shards or run whose data contract holds", metavar="FOLDER")
    verify: bool = option("compare with MONAI layer by layer (torch, monai)", False)
    size: tuple[int, ...] | None = option("with --verify: spatial size (default: small)", metavar="N,N")
    json: bool = option("print what was found as JSON", False)

    def default_out(self) -> Path | None:
        """The run folder without --out; None where a run is the source."""
        return None if self.to or self.source.is_dir() else Path("runs") / self.source.stem


def run(options: Options) -> int:
    """Write the run folder or the state dict; 1 where --verify finds a difference, and nothing is written."""
    import json

    from brain_diffusion_jax.api import conversions

    verify: dict[str, Any] = {"verify": options.verify, "size": options.size}
    if options.source.is_dir() and options.to and not options.out:
        more = {"names": options.names, **verify, **options.weights}
        found = conversions.export_monai(options.source, options.to, **more)
    elif options.out and not options.source.is_dir():
        found = conversions.import_monai(
            conversions.Weights(options.source, options.prefix, options.inside),
            options.out,
            conversions.Architecture(
                options.head_channels, options.norm_groups, options.norm_eps, options.upcast_attention
            ),
            config=options.config,
            contract=options.contract,
            **verify,
        )
    else:
        expected = "a weights file with --out, or a run folder with --to"
        raise InputError("command line", "IN", options.source, expected)
    compared = found.compared
    if options.json:
        print(json.dumps({**found.summary, "verify": compared and compared.to_json()}))
    else:
        print("\n".join([*([str(compared)] if compared else []), *found.lines]))
    return 0 if found.written else 1
