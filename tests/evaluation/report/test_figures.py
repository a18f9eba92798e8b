"""The plots of a report."""

from __future__ import annotations

from brain_diffusion_jax.evaluation.report import figures


def _figure():
    figure, axes = figures.new_figure(2, 2)
    axes[0, 0].plot([0, 1], [0, 1], "o-")
    axes[0, 0].set_title("w=1")
    return figure


def test_equal_plots_are_equal_files():
    assert figures.as_svg(_figure()) == figures.as_svg(_figure())
