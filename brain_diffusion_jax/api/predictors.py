"""The predictors of a study or a table: what reads ages, classes and features off images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from brain_diffusion_jax.api.loading import load
from brain_diffusion_jax.contract import Contract, require_same
from brain_diffusion_jax.data.prepare import head_volumes
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.probes.features import Extractor, require_dims
from brain_diffusion_jax.evaluation.probes.input_checks import check_shards
from brain_diffusion_jax.evaluation.probes.probe import Instruments, PredictFn
from brain_diffusion_jax.evaluation.study import study
from brain_diffusion_jax.tasks.age.model import AgeModel
from brain_diffusion_jax.tasks.classifier.model import ClassModel


def load_regressor(path: str | Path, contract: Contract | None) -> AgeModel:
    """The age model of a run at its best checkpoint; refuses one trained on other images than the contract's."""
    model = load(path, "age")
    if model.contract is not None and contract is not None:
        require_same(contract, model.contract, path, ignore=("slices",))
        # One that learned from more slices of the same heads reads these as well.
        cut, known = (set(c.slices.indices or ()) for c in (contract, model.contract))
        if not cut <= known:
            raise InputError(
                path, "slices", f"trained on {sorted(known)}", f"a regressor that knows {sorted(cut - known)}"
            )
    return model


def load_classifier(path: str | Path, contract: Contract) -> ClassModel:
    """The classifier of a run at its best checkpoint; refuses one of images of another size."""
    model = load(path, "class")
    if model.image_size != tuple(contract.image_size):
        raise InputError(path, "image_size", model.image_size, contract.image_size)
    return model


def measures_of(contract: Contract, shards: str | Path) -> dict[str, PredictFn]:
    """What conditions of volumes were measured with, by name: the region beside the shards; {} where none were.

    Raises InputError for a region that is missing or not the contract's.
    """
    region = head_volumes.region_of(contract, shards)
    if region is None:
        return {}

    def reader(name: str) -> PredictFn:
        return lambda images: head_volumes.measure(images, region, (name,))[name]

    return {name: reader(name) for name in head_volumes.NAMES}


@dataclass(frozen=True)
class Predictors:
    """age: reads ages and gives the first features. second_age: another one, not used for any choice.

    classifier: gives features too. more: extractors of other networks, such as Inception or MedicalNet.
    spatial_dims: of the images. measures: see `Instruments`.
    """

    age: AgeModel | None = None
    second_age: AgeModel | None = None
    classifier: ClassModel | None = None
    more: Sequence[Extractor] = ()
    spatial_dims: int = 2
    measures: Mapping[str, PredictFn] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        contract: Contract | None,
        *,
        age: str | Path | None = None,
        second_age: str | Path | None = None,
        classifier: str | Path | None = None,
        more: Sequence[Extractor] = (),
        shards: str | Path | None = None,
    ) -> Predictors:
        """Those of run folders, each checked against the images it is to read. A second_age counts beside an age.

        shards: of the contract, with the region that conditions of volumes were measured in.
        """
        dims = 2 if contract is None else len(contract.image_size)
        for extractor in more:
            require_dims(extractor, dims)
        return cls(
            load_regressor(age, contract) if age else None,
            load_regressor(second_age, contract) if age and second_age else None,
            load_classifier(classifier, contract) if classifier and contract is not None else None,
            more,
            dims,
            {} if contract is None or shards is None else measures_of(contract, shards),
        )

    @property
    def extractors(self) -> list[Extractor]:
        """Features of the age model, block means of pixels (always there), then the others'."""
        found = [study.pixel_extractor(self.spatial_dims), *self.more]
        if self.age is not None:
            name = f"{self.age.config.age_model.backbone}-pool"
            found.insert(0, Extractor(name, self.age.version, self.age.features))
        if self.classifier is not None:
            name = f"{self.classifier.config.class_model.backbone}-class-pool"
            found.insert(0, Extractor(name, self.classifier.version, self.classifier.features))
        return found

    @property
    def instruments(self) -> Instruments:
        """What a study reads images with."""
        age, second = self.age, self.second_age
        if age is None:
            return Instruments(self.extractors, measures=self.measures)
        target = age.config.age_model.target
        return Instruments(self.extractors, age.predict, second.predict if second else None, target, self.measures)

    def notes(self, shards: str | Path, split: str) -> list[str]:
        """Where real scans of a split are unlike what the age models were trained on; see `check_shards`."""
        found = [check_shards(model, str(shards), split) for model in (self.age, self.second_age) if model is not None]
        return [note for note in found if note]
