"""One HTML file with everything a reader needs, that opens without a network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.data.picture_grid import as_png
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics.metric_id import MetricId
from brain_diffusion_jax.evaluation.report import figures, report_tables, volume_views
from brain_diffusion_jax.evaluation.report.extrapolation_section import extrapolation_section
from brain_diffusion_jax.evaluation.report.headline import headline
from brain_diffusion_jax.evaluation.report.report_tables import number, table
from brain_diffusion_jax.evaluation.study.published import SOURCE
from brain_diffusion_jax.evaluation.study.report_pictures import VOLUMES
from brain_diffusion_jax.evaluation.study.study_result import Row, StudyResult

FILE_NAME = "report.html"
PICTURES = "report_pictures.npz"
TEMPLATE = Path(__file__).with_name("report_template.html")


def write_report(result: StudyResult, out: str | Path, *, compare: Mapping[str, StudyResult] | None = None) -> Path:
    """Write `out`/report.html; pictures come from `out`/report_pictures.npz, left there by the study.

    compare: other studies by name, put beside this one in tables of their own.
    """
    out = Path(out)
    grids, pairs = _pictures(out / PICTURES)
    sections = [
        quality_section(result),
        *volume_views.sections_of(out / PICTURES),
        target_section(result),
        extrapolation_section(result, compare or {}),
        anatomy_section(result),
        utility_section(result),
        privacy_section(result, pairs),
    ]
    if compare:
        sections.insert(0, comparison_section({result.title: result, **compare}))
    html = render(
        title=result.title,
        subtitle=_subtitle(result),
        headline=headline(result),
        notes=result.notes,
        grids=grids,
        grid_width=980,
        sections=[section for section in sections if section["tables"] or section["figures"]],
        method=method_text(result),
        method_json=json.dumps(result.to_json()["method"], indent=2),
    )
    files.write_text(out / FILE_NAME, html)
    return out / FILE_NAME


def write_comparison(results: Mapping[str, StudyResult], out: str | Path) -> Path:
    """Several studies side by side, without their pictures."""
    if len(results) < 2:
        raise InputError("--compare", "studies", len(results), "at least 2")
    html = render(
        title="Comparison: " + ", ".join(results),
        subtitle=f"{len(results)} studies",
        headline=[],
        notes=[],
        grids=[],
        grid_width=980,
        sections=[comparison_section(results)],
        method=[p for name, result in results.items() for p in [f"{name}:", *method_text(result)]],
        method_json=json.dumps({name: r.to_json()["method"] for name, r in results.items()}, indent=2),
    )
    files.write_text(Path(out) / "comparison.html", html)
    return Path(out) / "comparison.html"


def render(**values: Any) -> str:
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(files.read_text(TEMPLATE)).render(**values)


def _subtitle(result: StudyResult) -> str:
    m = result.method
    parts = [
        f"{m.get('num_pictures', '?')} pictures per guidance scale",
        f"conditions of {m.get('num_people', '?')} held-out people",
        f"brain-diffusion-jax {m.get('versions', {}).get('brain-diffusion-jax', '?')}",
        str(m.get("created", "")),
    ]
    return " · ".join(part for part in parts if part)


def _section(
    title: str, text: Sequence[str], plots: Sequence[tuple[str, str]], tables: Sequence[Any]
) -> dict[str, Any]:
    return {
        "title": title,
        "text": list(text),
        "figures": [{"image": image, "caption": caption} for image, caption in plots if image],
        "tables": [t for t in tables if t],
        "pairs": [],
    }


def quality_section(result: StudyResult) -> dict[str, Any]:
    rows = result.rows
    fd = figures.fd_metric(rows)
    caption = SOURCE if result.reference else ""
    return _section(
        "Quality and diversity",
        [
            "A Frechet distance belongs to the network that made the features, named in brackets, and to the number of "
            "pictures; it is compared within a column only. The real row is the distance between random halves of the "
            "real people, at half the number of pictures; 'real, training people' are as many pictures of the people "
            "the models learned from: the floor at equal number.",
            "Small figures are 95 % intervals over people.",
        ],
        [
            (
                figures.quality_versus_utility(result),
                "Quality against utility over guidance scales: distance to real pictures, and error of the "
                f"{result.target} that was asked for.",
            ),
            (figures.curves(result), "Over guidance scales; dashed: real held-out pictures."),
        ],
        [
            table(rows, report_tables.distances(rows), beside_published=result.reference, caption=caption),
            table(
                rows,
                report_tables.similarity(rows),
                beside_published=result.reference,
                caption="Mean over all pairs within one set: it measures diversity. What counts is closeness to the "
                "real row; higher means that the pictures resemble each other more.",
            ),
            report_tables.protocol_table(rows, result.method.get("protocol", "")),
            table(
                rows,
                report_tables.fine_structure(rows),
                caption="Over those of the real images: gradient energy, and energy in bands of frequency (fractions "
                "of Nyquist). Below 1 is blur, above 1 is noise.",
            ),
            table(
                rows,
                report_tables.MANIFOLD,
                caption="Precision and density: are generated pictures near real ones; recall and coverage: are real "
                f"ones reached. Features: {fd.reader}.",
            ),
        ],
    )


def target_section(result: StudyResult) -> dict[str, Any]:
    rows, target = result.rows, result.target
    others = report_tables.other_covariates(rows, target)
    reader = result.method.get("measured", {}).get(target) or result.method.get("age_model", "the run's regressor")
    return _section(
        f"Does a picture show the {target or 'condition'} that was asked for?",
        [
            "The regressor's own error on real held-out people stands in the first row: no generated picture can be "
            "expected to do better for the right reason. It has seen the training people of the second row. Regressors "
            f"pull their answers towards the mean {target} (regression dilution); the corrected columns undo the line "
            "fitted on real held-out people, so that a slope of 1 means change at the real rate.",
            "The second reader, unless another regressor was given, is a linear probe on block means of real training "
            "pictures. No choice was made with it.",
        ],
        [
            (
                figures.target_scatter(result),
                f"Predicted against requested (real people: true) {target}. Line: equality.",
            )
        ],
        [
            table(
                rows,
                report_tables.agreement(target),
                beside_published=result.reference,
                caption=f"Read by {reader}.",
            ),
            table(rows, report_tables.corrected(target), caption="The same, corrected for the regressor's own line."),
            table(
                rows,
                report_tables.second_probe(target),
                caption="Read by " + result.method.get("second_age_model", "the second reader, a pixel probe") + ".",
            ),
            table(rows, others, caption=_how_others_are_read(result, others)),
        ],
    )


def _how_others_are_read(result: StudyResult, others: Iterable[MetricId]) -> str:
    measured = result.method.get("measured", {})
    names = list(dict.fromkeys(metric.covariate for metric in others))
    words = [f"{name}: measured in {measured[name]}." for name in names if name in measured]
    probed = " and ".join(name for name in names if name not in measured)
    if probed:
        words.append(
            f"{probed[:1].upper()}{probed[1:]}, by linear probes trained on real training pictures. From one slice "
            "warped to a template some conditions are hardly visible even in real people: compare with the commonest "
            "answer."
        )
    return " ".join(words)


def anatomy_section(result: StudyResult) -> dict[str, Any]:
    check = result.anatomy.get("dark_fraction", {})
    where = ""
    if check:
        rows, cols = check["rows"], check["cols"]
        where = (
            f"Dark fraction: share of pixels below {number(check['threshold'])} of full scale in rows "
            f"{rows[0]} to {rows[1]} and columns {cols[0]} to {cols[1]}, where ventricles and deep sulci lie"
            + (f", at slice {check['slice']:g}." if check.get("slice") is not None else ".")
        )
    return _section(
        "Anatomy, without a network",
        [where, "Tissue fractions are shares of the head between grey levels found in real training pictures."],
        [
            (
                figures.dark_scatter(result),
                f"Dark fraction of the central box over the requested {result.target}; grey: real people.",
            )
        ],
        [
            table(result.rows, report_tables.DARK, target=result.target),
            table(result.rows, report_tables.TISSUE, caption=f"Spearman: with the requested {result.target}."),
        ],
    )


def utility_section(result: StudyResult) -> dict[str, Any]:
    """Filled when the study was run with utility."""
    lines = []
    for item in result.utility:
        cells = [
            {"value": number(item[k]["value"]), "interval": report_tables.interval_text(item[k]), "published": ""}
            for k in ("mae", "r")
        ]
        cells.insert(0, {"value": str(item["num_train"]), "interval": "", "published": ""})
        lines.append(
            {"name": item["name"], "real": item["name"].startswith("real") and "+" not in item["name"], "cells": cells}
        )
    tables = [{"head": ["trained on", "pictures", "MAE", "r"], "rows": lines, "caption": ""}] if lines else []
    seeds = result.utility[0].get("seeds", 1) if result.utility else 1
    return _section(
        f"Utility: a regressor of {result.target} trained on these pictures, tested on real people",
        [
            f"Mean over {seeds} seeds, with the range over seeds; always tested on the same real held-out people. The "
            f"synthetic pictures are those of this study, so their {result.target} is distributed as in the people "
            "tested on."
        ],
        [],
        tables,
    )


def privacy_section(result: StudyResult, pairs: Sequence[dict[str, str]]) -> dict[str, Any]:
    section = _section(
        "Privacy: nearest training pictures",
        [
            "For every generated picture the nearest training picture was found (pixels, after shifts of up to two "
            "pixels, and features), and the same was done for real held-out people, whom the model never saw. Of new "
            "people 5 % lie nearer than the 5 % quantile, and the chance to be nearer is 0.5. Averaged-looking "
            "pictures lie nearer to everybody, so a high chance alone is no proof of copying. Likeness is the "
            "correlation of fine structure (sulci), about 0.95 between two scans of one person. Flagged as a copy: "
            "nearer than half the 5 % quantile of held-out people, or a likeness above 0.85 and beyond their tail. A "
            "flagged held-out picture means that the person is in the training set too: see `audit`. The share flagged "
            "has Wilson's interval, a greatest likeness is a maximum and ends its own interval, the others are over "
            "people. Nearest / next: distance to the nearest over that to the next training picture, small for copies.",
            "This page shows pictures of real people: keep it with the data.",
        ],
        [(figures.neighbour_distances(result), "Distances to the nearest training picture.")],
        [table(result.generated, report_tables.COPIES), table(result.generated, report_tables.NEAREST)],
    )
    section["pairs"] = list(pairs)
    return section


def comparison_section(results: Mapping[str, StudyResult]) -> dict[str, Any]:
    """All studies' rows in one table for each kind of number; different extractors get different columns.

    Real people whom several studies measured alike are one row, the first.
    """
    rows: list[Row] = []
    of_real: set[str] = set()
    contracts = {json.dumps(r.method.get("contract"), sort_keys=True) for r in results.values()}
    for name, result in results.items():
        versions = result.method.get("extractors", {})
        for row in result.rows:
            numbers = {}
            for key, item in row.numbers.items():
                metric = MetricId.parse(key)
                # Features of another version of a network live in another space: another column.
                several = len({r.method.get("extractors", {}).get(metric.reader) for r in results.values()}) > 1
                of_features = metric.group in ("FD", "KID")
                numbers[f"{key} {versions.get(metric.reader, '')}" if of_features and several else key] = item
            if row.scale is None:
                measured = json.dumps([row.name, numbers], sort_keys=True)
                if measured in of_real:
                    continue
                of_real.add(measured)
            rows.append(Row(f"{name}: {row.name}", row.scale, row.num_pictures, row.num_people, numbers))
    sizes = {r.method.get("num_pictures") for r in results.values()}
    text = []
    if len(contracts) > 1:
        text.append("The data contracts of these studies differ: the rows describe different pictures or people.")
    if len(sizes) > 1:
        text.append(
            f"The studies used different numbers of pictures ({', '.join(map(str, sorted(map(str, sizes))))}): Frechet "
            "distances of unequal sets are biased by different amounts and must not be ranked against each other."
        )
    targets = list(dict.fromkeys(result.target for result in results.values()))
    return _section(
        "Studies side by side",
        text,
        [],
        [
            table(rows, report_tables.distances(rows)),
            table(rows, report_tables.similarity(rows)),
            report_tables.protocol_table(rows, next(iter(results.values())).method.get("protocol", "")),
            table(rows, report_tables.fine_structure(rows)),
            *(
                table(rows, columns, caption=f"Of {target}." if len(targets) > 1 else "")
                for target in targets
                for columns in (report_tables.agreement(target), report_tables.other_covariates(rows, target))
            ),
            table(rows, report_tables.DARK, target=" or ".join(targets)),
            table(rows, report_tables.COPIES),
            table(rows, report_tables.NEAREST),
        ],
    )


def method_text(result: StudyResult) -> list[str]:
    """The paragraph for a paper's method section."""
    m = result.method
    contract = m.get("contract") or {}
    split = contract.get("split", {})
    extractors = ", ".join(f"{k} ({v})" for k, v in m.get("extractors", {}).items())
    sampler = m.get("sampling", {})
    how = ", ".join(f"{k} {v}" for k, v in sampler.items())
    text = [
        f"For each of {m.get('num_pictures')} real pictures of {m.get('num_people')} people in split "
        f"'{m.get('evaluated_split')}' one picture was generated with that picture's condition at each guidance scale "
        f"({', '.join(r.name for r in result.generated)}), seed {m.get('seed')}, the same noise at every scale"
        + (f" ({how})" if how else "")
        + ", stored in 8 bits. Guidance: null + w (conditional - null), so that w=1 is off.",
        f"Features: {extractors}. Frechet distances in float64 from QR factors of the centred features (exact also "
        f"when pictures are fewer than dimensions). Intervals: 95 %, {m.get('bootstrap')} resamples of people, not of "
        "pictures (fewer for kernels, neighbours and more than 512 dimensions); for distances and manifold scores "
        "halves without replacement, centred on the estimate. SSIM: 11x11 Gaussian of sigma 1.5, windows inside the "
        "picture, K 0.01 and 0.03, data range 1, all pairs of different pictures.",
    ]
    if split:
        unit = split.get("unit")
        sentence = f"Data split by {unit}, seed {split.get('seed')}."
        if unit == "slice":
            sentence += (
                " Neighbouring slices of one person stand on both sides of this split, as in the reference paper: the "
                f"{result.target} error is optimistic and nearest-neighbour distances are too small."
            )
        text.append(sentence)
    return text


def _pictures(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Grids and flagged pairs for the template."""
    if not path.exists():
        return [], []
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if not name.startswith(VOLUMES)}
    labels = [str(label) for label in arrays.pop("labels")]
    both = zip(arrays.pop("pairs", []), arrays.pop("pair_captions", []), strict=True)
    pairs = [{"image": as_png(figures.tile(images)), "caption": str(caption)} for images, caption in both]
    # One display window for all rows, so that pictures stored dark can be seen and brightness compared.
    top = max(float(np.quantile(arrays["real"], 0.998)), 1.0) if "real" in arrays else 255.0
    strips = []
    for name, images in arrays.items():
        shown = np.clip(np.round(images * (255.0 / top)), 0, 255).astype(np.uint8)
        strips.append({"name": name, "image": as_png(figures.tile(shown))})
    grid = {
        "title": "The same conditions at every guidance scale",
        "text": "One column per held-out person's condition, in order of age; the first row is the real picture of "
        "that person. Noise is common to a column.",
        "labels": labels,
        "strips": strips,
    }
    return [grid], pairs
