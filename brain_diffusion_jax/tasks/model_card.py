"""A model card in Markdown from what a run itself knows: data, conditions, network, numbers, limits."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from brain_diffusion_jax import __version__
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Categorical, Schema
from brain_diffusion_jax.tasks.run_config import RunConfig
from brain_diffusion_jax.tasks.spec import TaskSpec, spec


def model_card(
    name: str,
    kind: str,
    config: Mapping[str, Any],
    contract: Contract | None,
    *,
    parameters: int,
    history: Sequence[Mapping[str, Any]] = (),
    study: Mapping[str, Any] | None = None,
    example: str | None = None,
) -> str:
    """The card. history: rows of metrics.jsonl; study: content of study.json; example: file, or address
    on the hub, to load.

    What the run does not know is said to be unknown, never filled in.
    """
    declared = spec(kind)
    tag = re.sub(r"[^\w-]+", "-", kind)
    front = ["---", "library_name: brain-diffusion-jax", "tags:", "- mri", "- brain", "- jax", f"- {tag}", "---"]
    sections = [
        f"# {_escaped(name)}",
        f"{_escaped(declared.output)}. {parameters / 1e6:.2f} million parameters, "
        f"written by brain-diffusion-jax {__version__}.",
        _intended(declared.use),
        _data(contract),
        _conditions(config, contract, kind),
        _network(declared, config),
        _training(declared, config, history),
        _numbers(declared, history, study),
        _limits(declared, config, contract, study),
        _loading(declared, example or f"{name}.safetensors", _schema(config, contract)),
    ]
    return "\n".join(front) + "\n\n" + "\n\n".join(s for s in sections if s) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [[_escaped(cell) for cell in row] for row in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escaped(text: object) -> str:
    """Text of a run for Markdown: one line in which neither HTML nor a link, image, code or emphasis begins."""
    line = html.escape(re.sub(r"[\s\x00-\x1f\x7f]+", " ", str(text)), quote=False)
    return re.sub(r"([\\`*~|]|\](?=[(\[:])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))", r"\\\1", line)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _intended(use: str) -> str:
    return (
        f"## Intended use\n\n{use}\n\nNot for diagnosis, treatment or any decision about a person. Images and "
        "ages are those of a statistical model of the people it was trained on."
    )


def _data(contract: Contract | None) -> str:
    if contract is None:
        return "## Data\n\nUnknown: the weights came without a data contract."
    facts = {
        "source": contract.source or "not stated",
        "kind": contract.kind,
        "picture size": " x ".join(map(str, contract.image_size)),
        "orientation": f"{contract.orientation}; {contract.display}",
        "spacing": " x ".join(f"{s:g}" for s in contract.spacing_mm) + " mm" if contract.spacing_mm else "not stated",
        "slices": contract.slices.to_json(),
        "fit": contract.fit.to_json(),
        "intensity": contract.intensity.to_json(),
        "split": contract.split.to_json(),
        "counts": contract.counts,
        "fingerprint": contract.fingerprint or "not stated",
    }
    return "## Data\n\n" + _table(["fact", "value"], [[k, _plain(v)] for k, v in facts.items() if v not in ({}, "")])


def _schema(config: Mapping[str, Any], contract: Contract | None) -> Schema:
    return contract.schema if contract else Schema.from_json(config.get("covariates", ()))


def _conditions(config: Mapping[str, Any], contract: Contract | None, kind: str) -> str:
    schema = _schema(config, contract)
    rows = [
        [c.name, "one of", ", ".join(c.values)]
        if isinstance(c, Categorical)
        else [c.name, c.unit, f"{c.low:g} to {c.high:g}"]
        for c in schema.covariates
    ]
    if not rows:
        return "## Covariates\n\nNone known."
    text = "## Covariates\n\n" + _table(["name", "unit", "domain"], rows)
    mode = config.get("conditioning", {}).get("mode")
    reach = f"\n\nReach the network as: {_escaped(mode)}. Any of them may be left out."
    return text + (reach if kind == "diffusion" else "")


def _network(declared: TaskSpec[RunConfig], config: Mapping[str, Any]) -> str:
    rows = [
        [f"{n}.{k}", _plain(v)] for n in declared.network for k, v in dict(config.get(n, {})).items() if v is not None
    ]
    return "## Network\n\n" + _table(["setting", "value"], rows)


def _training(declared: TaskSpec[RunConfig], config: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> str:
    if not history:
        return "## Training\n\nNot trained here, or no record of it."
    sections = dict.fromkeys(("data", "optimizer", "train", declared.steps.partition(".")[0]))
    keys = ("batch_size", "name", "learning_rate", "schedule", "drop_probability", "loss", "ema_decay")
    rows = [["steps", max(int(r.get("step", 0)) for r in history)]]
    for section in sections:
        values = {k: v for k, v in dict(config.get(section, {})).items() if k in keys}
        rows += [[f"{section}.{k}", _plain(v)] for k, v in values.items()]
    return "## Training\n\n" + _table(["setting", "value"], rows)


def _numbers(
    declared: TaskSpec[RunConfig], history: Sequence[Mapping[str, Any]], study: Mapping[str, Any] | None
) -> str:
    parts = []
    last: dict[str, Any] = {}
    for row in history:
        last |= {k: v for k, v in row.items() if isinstance(v, int | float) and k not in ("time",)}
    losses = [[k, f"{v:.5g}"] for k, v in last.items() if any(n in k for n in declared.numbers)]
    if losses:
        parts.append("Last of the training record:\n\n" + _table(["number", "value"], losses))
    if study:
        metrics = list(dict.fromkeys(m for row in study["rows"] for m in row["numbers"]))
        rows = [
            [r["name"], r["num_pictures"], *(_interval(r["numbers"].get(m)) for m in metrics)] for r in study["rows"]
        ]
        parts.append("Measured against held-out people (95 % interval):\n\n" + _table(["", "pictures", *metrics], rows))
        parts += [f"- {_escaped(note)}" for note in study.get("notes", ())]
    return "## Numbers\n\n" + ("\n\n".join(parts) if parts else "None measured.")


def _interval(number: Mapping[str, Any] | None) -> str:
    if not number or number.get("value") is None:
        return ""
    text = f"{number['value']:.4g}"
    if number.get("low") is not None and number.get("high") is not None:
        text += f" ({number['low']:.4g} to {number['high']:.4g})"
    return text


def _limits(
    declared: TaskSpec[RunConfig], config: Mapping[str, Any], contract: Contract | None, study: Mapping[str, Any] | None
) -> str:
    lines = []
    continuous = [c for c in _schema(config, contract).covariates if not isinstance(c, Categorical)]
    if continuous:
        domain = ", ".join(f"{c.name} {c.low:g} to {c.high:g} {c.unit}" for c in continuous)
        lines.append(f"Knows only people like those it saw ({_escaped(domain)}); outside it extrapolates.")
    unit = contract.split.unit if contract else config.get("split", {}).get("unit")
    if unit == "slice":
        lines.append(
            "Split by slice: neighbouring slices of one person stand on both sides, so that every number "
            "above is too good."
        )
    if contract is None:
        lines.append(
            "Without a data contract nobody can check that images given to it, or compared with its own, "
            "were prepared alike."
        )
    elif contract.kind == "slices" and declared.makes_images:
        lines.append("Slices are made one by one: those of one synthetic person do not stack into a volume.")
    if declared.makes_images:
        lines.append(
            "Images may resemble people of the training data; run `brain-diffusion evaluate` with its "
            "memorisation measure before publishing images or weights."
        )
    if not study:
        lines.append("No study of this run was found: how good it is has not been measured.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _loading(declared: TaskSpec[RunConfig], file: str, schema: Schema) -> str:
    middle = {c.name: c.decode(0.0 if isinstance(c, Categorical) else 0.5) for c in schema.covariates}
    call = declared.example.replace("{condition}", json.dumps(middle))
    file = re.sub(r"[\s`\x00-\x1f]+", "_", file)  # it stands in a block of code
    opened, unpack = file, ""
    if not file.startswith("hf://"):
        opened, unpack = "runs/model", f"```\nbrain-diffusion convert safetensors {file} --out runs/model\n```\n\n"
    return (
        f'## Use\n\n{unpack}```python\nimport brain_diffusion_jax as bdj\n\nmodel = bdj.load("{opened}")\n{call}\n```'
    )
