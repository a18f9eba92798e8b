"""Names of the numbers of a study: `str` of a MetricId is the key in study.json and in the tables."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

NUMERIC = ("mae", "mse", "rmse", "r", "slope", "bias")
CATEGORICAL = ("accuracy", "majority")
CORRECTED = "corrected"
REAL = "real"  # the same number of the real images, where both stand side by side
SECOND = "second reader"
DARK = "dark fraction"
TISSUES = ("dark tissue", "grey tissue", "bright tissue", "symmetry")
PRIVACY = "privacy"
SSIM = "SSIM of pairs"
_READERS = (SECOND, REAL)
_GROUPS = (DARK, *TISSUES, PRIVACY)


@dataclass(frozen=True)
class MetricId:
    """One number of a set of images.

    group: what is measured ("FD", "dark fraction", "privacy", "corrected" for agreement after the bias correction;
    "" for plain agreement and scores without a family). covariate: whose values are compared, "" for none.
    statistic: "mae", "mean", "precision". reader: the extractor of a distance, the probe of a covariate
    ("" for the first one), or REAL.
    """

    group: str = ""
    covariate: str = ""
    statistic: str = ""
    reader: str = ""

    def __str__(self) -> str:
        if self.group in ("FD", "KID"):
            words = [f"{self.group}[{self.reader}]", self.statistic]
        else:
            subject = self.covariate or self.group
            words = [f"{subject}, {self.reader}" if self.reader else subject]
            words += [self.group if self.covariate else "", self.statistic]
        return " ".join(word for word in words if word)

    def of(self, statistic: str, group: str | None = None) -> MetricId:
        """The same subject's other statistic."""
        return replace(self, statistic=statistic, group=self.group if group is None else group)

    @classmethod
    def parse(cls, key: str) -> MetricId:
        """The inverse of `str`, for the keys of studies on disk."""
        if distance := re.fullmatch(r"(FD|KID)\[(.*)\](?: (.*))?", key, re.DOTALL):
            return cls(distance[1], "", distance[3] or "", distance[2])
        name, _, statistic = key.rpartition(" ")
        if name and statistic in (*NUMERIC, *CATEGORICAL):
            group = CORRECTED if name.endswith(f" {CORRECTED}") else ""
            name = name.removesuffix(f" {CORRECTED}")
            reader = next((word for word in _READERS if name.endswith(f", {word}")), "")
            return cls(group, name.removesuffix(f", {reader}") if reader else name, statistic, reader)
        for group in _GROUPS:
            if key.startswith(f"{group} "):
                return cls(group, "", key.removeprefix(f"{group} "))
        if key.startswith((SSIM, f"MS-{SSIM}")):
            reader = REAL if key.endswith(f", {REAL}") else ""
            return cls(key.removesuffix(f", {REAL}"), "", "", reader)
        return cls(statistic=key)
