"""What a gate rejects of real images that were corrupted on purpose."""

from __future__ import annotations

from spots import RATE, make

from brain_diffusion_jax.evaluation.gate import gate_power


def test_power_says_what_the_gate_rejects_of_these_images(learned, known):
    limits = dict(learned.limits)
    kinds = gate_power.power(learned, known[1], make(400, 31), partitions=3, most=60)
    assert kinds[gate_power.REAL]["rejected"] <= RATE + 0.04  # limits by 200 pictures vary by 2 %
    assert kinds[gate_power.REAL]["pictures"] == 200
    for name in (gate_power.WRONG, gate_power.COPIES, "blur, sigma 1.5 pixels", "noise, sigma 0.1"):
        assert kinds[name]["rejected"] >= 0.95, name
        low, high = kinds[name]["interval"]
        assert low <= kinds[name]["rejected"] <= high <= 1
    assert kinds[gate_power.WRONG]["reason"] == "class"
    assert kinds[gate_power.COPIES]["reason"] == "copy"
    assert "| wrong class |" in gate_power.table(kinds, RATE)
    assert learned.limits == limits  # its own stay
