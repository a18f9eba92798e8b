"""Rows of a run that was killed."""

from __future__ import annotations

from brain_diffusion_jax.training.run_folder import metrics


def test_metrics_of_a_killed_run(tmp_path):
    writer = metrics.MetricsWriter(tmp_path)
    for step in range(1, 6):
        writer.write(step, {"loss": 1.0 / step, "validation_loss": float("nan") if step == 2 else step * 1.0})
    writer.close()
    with (tmp_path / metrics.JSONL).open("a") as file:
        file.write('{"step": 6, "lo')
    assert [r["step"] for r in metrics.read_jsonl(tmp_path)] == [1, 2, 3, 4, 5]
    assert metrics.read_jsonl(tmp_path)[1]["validation_loss"] is None
    writer = metrics.MetricsWriter(tmp_path, 3)
    writer.write(4, {"loss": 9.0})
    writer.cut(2)
    writer.write(3, {"loss": 8.0})
    writer.close()
    assert [(r["step"], r["loss"]) for r in metrics.read_jsonl(tmp_path)] == [(1, 1.0), (2, 0.5), (3, 8.0)]
    assert list(tmp_path.glob("events.out.tfevents.*"))
