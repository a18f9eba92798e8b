"""Reading Keras files with h5py alone: the model's config, and the weights of each of its layers.

Layouts: HDF5 of Keras 2.2 (a nested model's weights in one group, trainable first), of Keras 2.x and
tf_keras (one group a layer, `Functional`), of Keras 3 (no ":0"), and the `.keras` archive of Keras 3.
Nothing stored in a file is ever executed: configs are read as JSON, Lambdas as names.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.conversion.keras_config import KerasLayer, flatten
from brain_diffusion_jax.errors import InputError

# The five files that the authors of DeepBrainNet published (Bashyam et al. 2020), by SHA-256.
PUBLISHED = {
    "9257e98e9aff88bfcd83acdb1e74ffde762967503ef6df16c9270aa39d9941ea": "DBN_model.h5",
    "91fcda20a47bf1c481adac87cce26798b4827146c17ff18e4b56d464f7940820": "DeepBrainNet_VGG16.h5",
    "fed3382dd6c4cf075e27df6d710c4badfad1c22eb9cdd91db7c0bc57ae319f0b": "DeepBrainNet_Resnet50.h5",
    "2761566180ed37b360f18d11250f289947366330e0c48f99027bdacb005da44f": "DeepBrainNet_DenseNet169.h5",
    "6d33de5373ba869133106392c54c60df171b1cbc765b0f9e3aa743fbb2921156": "DeepBrainNet_InceptionResnetv2.h5",
}
# The weights a layer holds, in Keras' order: trainable ones, then moving statistics.
_TRAINABLE = ("kernel", "gamma", "beta", "bias")


@dataclass
class KerasFile:
    """An open file. output: position of the layer that gives the result; weights: layer name -> {kind of weight:
    h5py dataset}, read on demand."""

    path: Path
    sha256: str
    layout: str
    keras_version: str
    layers: tuple[KerasLayer, ...]
    output: int
    weights: dict[str, dict[str, Any]]
    optimizer_state: bool
    problems: list[str] = field(default_factory=list)

    @property
    def published_name(self) -> str | None:
        """Which of the published files this is, by its checksum; None for another."""
        return PUBLISHED.get(self.sha256)

    def read(self, layer: str, kind: str) -> np.ndarray:
        """One weight as a new float32 array."""
        dataset = self.weights[layer][kind]
        array = np.empty(dataset.shape, np.float32)
        try:
            dataset.read_direct(array)
        except (OSError, RuntimeError) as error:
            raise InputError(self.path, f"{layer}/{kind}", f"unreadable ({error})", "a whole file") from error
        return array


@contextlib.contextmanager
def open_keras(path: str | Path) -> Iterator[KerasFile]:
    """Open a `.h5` or `.keras` file; raises InputError for what is no whole Keras model."""
    import h5py

    path = Path(path)
    if not path.is_file():
        raise InputError(path, "file", "no such file", "a Keras .h5 or .keras file")
    digest = files.sha256(path)
    with contextlib.ExitStack() as stack:
        if zipfile.is_zipfile(path):
            yield _open_archive(path, digest, stack)
            return
        if not h5py.is_hdf5(path):
            head = path.open("rb").read(8)
            raise InputError(path, "format", f"{path.stat().st_size} bytes that begin {head!r}", "HDF5 or .keras (zip)")
        yield _open_legacy(path, digest, _h5(path, path, stack))


def _h5(path: Path, where: Path, stack: contextlib.ExitStack) -> Any:
    """The file, opened; refused where anything in it would be read from elsewhere, such as another file."""
    import h5py

    def elsewhere(name: str, link: Any) -> tuple[str, str] | None:
        """(name, what it is) of what is not in this file; the visit ends with it (h5py loses exceptions here)."""
        if not isinstance(link, h5py.HardLink):
            target = ":".join(x for x in (getattr(link, "filename", ""), getattr(link, "path", "")) if x)
            return name, f"{type(link).__name__} to {target}"
        item = file[name]
        if isinstance(item, h5py.Dataset) and item.external:
            return name, f"external storage in {item.external[0][0]}"
        if isinstance(item, h5py.Dataset) and item.is_virtual:
            return name, "a virtual dataset of other files"
        return None

    try:
        file = stack.enter_context(h5py.File(path, "r"))
        outside = file.visititems_links(elsewhere)
    except (OSError, RuntimeError, KeyError, SystemError) as error:
        raise InputError(where, "HDF5", f"unreadable ({error})", "a whole file; copy or download it again") from error
    if outside is not None:
        raise InputError(where, outside[0], outside[1], "the weights themselves")
    return file


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _attribute_list(group: Any, name: str) -> list[str] | None:
    """A list attribute, also where Keras cut it into name0, name1 ... for its length; None if absent."""
    if name in group.attrs:
        return [_text(v) for v in group.attrs[name]]
    if f"{name}0" not in group.attrs:
        return None
    items: list[str] = []
    index = 0
    while f"{name}{index}" in group.attrs:
        items += [_text(v) for v in group.attrs[f"{name}{index}"]]
        index += 1
    return items


def _parse_json(text: Any, where: Path) -> Any:
    try:
        return files.parse_json(_text(text), where, "model_config")
    except UnicodeDecodeError as error:
        raise InputError(where, "model_config", f"byte {error.start} is not UTF-8", "the JSON Keras wrote") from None


# The legacy HDF5 layouts.


def _open_legacy(path: Path, digest: str, file: Any) -> KerasFile:
    root = file.get("model_weights", file)
    names = _attribute_list(root, "layer_names")
    if "model_config" not in file.attrs:
        if names is not None or "layers" in file or "_layer_checkpoint_dependencies" in file:
            found = f"weights only{f' of {len(names)} layers' if names else ''}, no model_config"
            expected = "a whole model: save it with model.save(), not save_weights()"
            raise InputError(path, "model_config", found, expected)
        raise InputError(path, "model_config", f"HDF5 with {sorted(file)[:5]}", "a model saved by Keras")
    if names is None:
        raise InputError(path, "layer_names", "no such attribute", "a whole model saved by Keras")
    config = _parse_json(file.attrs["model_config"], path)
    layers, output = flatten(config, path)
    version = _text(root.attrs.get("keras_version", file.attrs.get("keras_version", "unknown")))
    weights: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for name in names:
        owners = [layer for layer in layers if layer.group == name and layer.weight_kinds]
        if name not in root:
            problems.append(f"{name}: named in layer_names, its weight group is missing")
            continue
        group = root[name]
        stored = []
        for weight in _attribute_list(group, "weight_names") or []:
            if weight in group:
                stored.append((weight, group[weight]))
            else:
                problems.append(f"{name}: {weight}: named in weight_names, missing in the file")
        # By name where every name contains its layer's, else in Keras' order.
        weights.update(_by_name(owners, stored) or _by_order(owners, stored, problems))
    single = {layer.group for layer in layers if layer.group != layer.name}
    layout = f"HDF5, Keras {version}, {'nested' if single else 'flat'} {config['class_name']}"
    optimizer = "optimizer_weights" in file
    return KerasFile(path, digest, layout, version, layers, output, weights, optimizer, problems)


def _split_weight_name(name: str) -> tuple[str, str]:
    """ "vgg16/block1_conv1/kernel:0" -> ("vgg16/block1_conv1", "kernel")."""
    prefix, _, leaf = re.sub(r":\d+$", "", name).rpartition("/")
    return prefix, re.sub(r"_\d+$", "", leaf)


def _by_name(owners: list[KerasLayer], stored: list[tuple[str, Any]]) -> dict[str, dict[str, Any]] | None:
    known = {layer.name for layer in owners}
    assigned: dict[str, dict[str, Any]] = {layer.name: {} for layer in owners}
    for name, dataset in stored:
        prefix, leaf = _split_weight_name(name)
        parts = prefix.split("/")
        # The longest tail that is a layer's name: DenseNet has layers "bn" and "conv1/bn".
        owner = next((tail for i in range(len(parts)) if (tail := "/".join(parts[i:])) in known), None)
        if owner is None or leaf in assigned[owner]:
            return None
        assigned[owner][leaf] = dataset
    complete = all(set(assigned[layer.name]) == set(layer.weight_kinds) for layer in owners)
    return assigned if complete else None


def _by_order(
    owners: list[KerasLayer], stored: list[tuple[str, Any]], problems: list[str]
) -> dict[str, dict[str, Any]]:
    """Keras' own order: trainable weights layer by layer, then all others (frozen ones with them)."""
    first: list[tuple[str, str]] = []
    second: list[tuple[str, str]] = []
    for layer in owners:
        frozen = layer.config.get("trainable") is False
        for kind in layer.weight_kinds:
            (first if kind in _TRAINABLE and not frozen else second).append((layer.name, kind))
    expected = first + second
    leaves = [_split_weight_name(name)[1] for name, _ in stored]
    if leaves != [kind for _, kind in expected]:
        group = owners[0].group if owners else stored[0][0]
        return _partly(owners, stored, problems, f"{group}: {len(stored)} weights, expected {len(expected)}")
    assigned: dict[str, dict[str, Any]] = {}
    for (layer_name, kind), (_, dataset) in zip(expected, stored, strict=True):
        assigned.setdefault(layer_name, {})[kind] = dataset
    return assigned


def _partly(owners, stored, problems: list[str], summary: str) -> dict[str, dict[str, Any]]:
    """Weights that fit neither by name nor by order: say which are missing and which are left over."""
    problems.append(summary)
    have = {_split_weight_name(name) for name, _ in stored}
    for layer in owners:
        missing = [k for k in layer.weight_kinds if (layer.name, k) not in have]
        if missing:
            problems.append(f"{layer.name} ({layer.kind}): no {', '.join(missing)}")
    known = {layer.name for layer in owners}
    problems += [
        f"{name}: belongs to no layer of the config"
        for name, _ in stored
        if _split_weight_name(name)[0].split("/")[-1] not in known
    ]
    return {}


# The .keras archive of Keras 3. What a member may hold: the largest backbone with double the state of Adam, a
# config ten times the longest.
_LARGEST = {"config.json": 16 << 20, "metadata.json": 1 << 20, "model.weights.h5": 1 << 30}


def _require_plausible(path: Path, member: zipfile.ZipInfo, most: int) -> None:
    """Refuse a member that would fill memory or disk. zipfile never reads more than `file_size`."""
    most = min(most, (1 << 20) + 50 * member.compress_size)  # weights and configs shrink by less
    if member.file_size > most:
        raise InputError(path, member.filename, f"{member.file_size} bytes when unpacked", f"at most {most}")


def _open_archive(path: Path, digest: str, stack: contextlib.ExitStack) -> KerasFile:
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
        present = set(archive.namelist())
        if not {"config.json", "model.weights.h5"} <= present:
            raise InputError(path, "archive", sorted(present)[:5], "config.json and model.weights.h5 (a .keras file)")
        for name, most in _LARGEST.items():
            if name in present:
                _require_plausible(path, archive.getinfo(name), most)
        config = _parse_json(archive.read("config.json"), path)
        meta = _parse_json(archive.read("metadata.json"), path) if "metadata.json" in present else {}
        # HDF5 needs a seekable file; on disk it costs no memory.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="brain-diffusion-")))
        with archive.open("model.weights.h5") as packed, (folder / "model.weights.h5").open("xb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise InputError(path, "archive", f"unreadable ({error})", "a whole .keras file") from error
    file = _h5(folder / "model.weights.h5", path, stack)
    layers, output = flatten(config, path)
    weights: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for layer in (layer for layer in layers if layer.weight_kinds):
        place = f"{layer.archive_path}/vars"
        stored = file.get(place, {})
        if set(stored) != {str(i) for i in range(len(layer.weight_kinds))}:
            problems.append(
                f"{layer.name} ({layer.kind}): {len(stored)} weights at {place}, expected {layer.weight_kinds}"
            )
            continue
        weights[layer.name] = {kind: stored[str(i)] for i, kind in enumerate(layer.weight_kinds)}
    version = str(meta.get("keras_version", "unknown"))
    nested = any(layer.group != layer.name for layer in layers)
    layout = f".keras archive, Keras {version}, {'nested' if nested else 'flat'} {config['class_name']}"
    return KerasFile(path, digest, layout, version, layers, output, weights, "optimizer" in file, problems)
