"""The part of `evaluate` for classes: arms side by side, judged by a classifier that saw real pictures only."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def run(arguments: argparse.Namespace) -> int:
    """One table over all folders of `arguments.what`: real against real, every folder, and what the gate leaves of it.

    Frechet distances are on the classifier's pooled features. Rows "..., as many ungated" hold random pictures of
    the folder in the numbers that passed the gate, because a distance depends on how many pictures it is from.
    """
    import json

    from brain_diffusion_jax import api
    from brain_diffusion_jax.contract import Contract
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation.gate.gating import real_pictures
    from brain_diffusion_jax.evaluation.metrics import class_measures

    for name in ("age_model", "inception", "against"):
        if getattr(arguments, name):
            raise InputError("command line", f"--{name.replace('_', '-')}", "beside --classifier", "one of them")
    if not arguments.data:
        raise InputError("command line", "--data", "nothing", "the shards with the real pictures")
    judge, contract = api.load(arguments.classifier, "class"), Contract.load(arguments.data)
    if tuple(contract.image_size) != judge.image_size:
        raise InputError(arguments.data, "image_size", contract.image_size, f"{judge.image_size}, as the classifier")
    folders = {Path(what).name or str(what): Path(what) for what in arguments.what}
    if len(folders) != len(arguments.what):
        raise InputError("command line", "WHAT", "folders of the same name", "each folder once, by names that differ")
    sets = {name: _folder(path, judge, contract, arguments.data) for name, path in folders.items()}
    real = {s: real_pictures(Path(arguments.data), s, judge) for s in ("train", "validation", "test")}
    real_features = judge.features(real["test"].images)

    def row(pictures: Any) -> dict[str, Any]:
        features, p = judge.features(pictures.images), judge.probabilities(pictures.images)
        options = {"seed": arguments.seed, "replicates": arguments.bootstrap}
        return class_measures.measure(
            features, p, pictures.labels, real_features, real["test"].labels, judge.words, **options
        )

    rows = {"real, validation": row(real["validation"])}
    for name, pictures in sets.items():
        rows[name] = row(pictures)
    shares: dict[str, float] = {}
    if arguments.gate:
        parts, shares = _gated(arguments, judge, real, sets)
        rows |= {name: row(part) for name, part in parts.items()}
    found = {"classifier": judge.name, "data": str(arguments.data), "pass the gate": shares, "rows": rows}
    text = [f"Judged by {judge.name}, against {len(real['test'].labels)} held-out real pictures.", ""]
    text += [class_measures.table(rows, f"{judge.config.class_model.backbone}-pool"), ""]
    text += [f"{name}: {100 * share:.0f} % pass the gate." for name, share in shares.items()]
    for name in ("real, validation", *sets):
        if rows[name]["confusion"]:
            text += ["", f"{name}:", "", class_measures.confusion_table(rows[name]["confusion"], judge.words)]
    if arguments.out:
        _write(Path(arguments.out), found, "\n".join(text), sets)
    print(json.dumps(found) if arguments.json else "\n".join(text))
    return 0


def _folder(path: Path, judge: Any, contract: Any, data: str) -> Any:
    """gate.Pictures of a folder that `sample` wrote; label -1 where it asked for no class."""
    import numpy as np

    from brain_diffusion_jax.contract import FILE_NAME, Contract, require_same
    from brain_diffusion_jax.data.sample_folder import MANIFEST, read_pictures
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation.gate.gate import Pictures

    images, manifest = read_pictures(path)
    if (path / FILE_NAME).exists():
        require_same(Contract.load(path), contract, f"{path} against {data}")
    if images.shape[1:3] != judge.image_size:
        raise InputError(path, "picture size", images.shape[1:3], judge.image_size)
    if judge.covariate not in manifest[0]:
        raise InputError(path / MANIFEST, "columns", sorted(manifest[0]), f"a column {judge.covariate!r}")
    asked = [row[judge.covariate] for row in manifest]
    unknown = sorted(set(asked) - {*judge.words, ""})
    if unknown:
        raise InputError(path / MANIFEST, judge.covariate, ", ".join(unknown), f"one of {', '.join(judge.words)}")
    return Pictures(images, np.array([judge.words.index(word) if word else -1 for word in asked]))


def _gated(
    arguments: argparse.Namespace, judge: Any, real: Any, sets: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, float]]:
    """What passes the gate of each set that asked for classes, beside as many random ones; and the shares."""
    import numpy as np

    from brain_diffusion_jax.evaluation.gate.gate import Gate, Pictures
    from brain_diffusion_jax.evaluation.metrics.class_measures import equal_numbers

    control = Gate(
        judge.features,
        judge.probabilities,
        real["train"],
        real["validation"],
        false_alarm_rate=arguments.gate,
        draws=2,  # limits of batches, which no picture meets
        seed=arguments.seed,
    )
    found, shares = {}, {}
    for name, (images, labels) in {"real, test": real["test"], **sets}.items():
        if (labels < 0).any():
            continue
        passed = control.judge(Pictures(images, labels)).accepted
        shares[name] = float(passed.mean())
        if name in sets and passed.sum() > 1:
            _, same = equal_numbers([labels[passed], labels], len(judge.words), np.random.default_rng(arguments.seed))
            found[f"{name}, gated"] = Pictures(images[passed], labels[passed])
            found[f"{name}, as many ungated"] = Pictures(images[same], labels[same])
    return found, shares


def _write(out: Path, found: dict[str, Any], text: str, sets: dict[str, Any], each: int = 12) -> None:
    """classes.json, classes.md, and a contact sheet of every set: a row a class, `each` pictures of it."""
    import numpy as np

    from brain_diffusion_jax import files
    from brain_diffusion_jax.data import picture_grid

    files.write_json(out / "classes.json", found)
    files.write_text(out / "classes.md", text + "\n")
    for name, (images, labels) in sets.items():
        shown = np.concatenate([np.flatnonzero(labels == word)[:each] for word in np.unique(labels)])
        picture_grid.save_png(out / f"{name}.png", picture_grid.tile(images[shown, ..., 0], each))
