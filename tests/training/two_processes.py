"""One process of a two-process training over loopback: RUN PORT PROCESS_ID DELAY_S."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import jax
import tiny

from brain_diffusion_jax.training.devices import compile_cache, distributed

HEARTBEAT_S = 10


class Slow(tiny.Endless):
    delay = 0.0

    def __next__(self):
        time.sleep(self.delay)
        return super().__next__()


def main(run: Path, port: str, process: int, delay: float) -> int:
    compile_cache.enable()
    cluster = distributed.Cluster("explicit", f"127.0.0.1:{port}", 2, process, HEARTBEAT_S, connect_s=120)
    distributed.initialize(cluster)
    assert (jax.process_count(), jax.device_count()) == (2, 4)
    Slow.delay = delay
    data = Slow(tiny.BATCH, jax.process_index(), 2)
    options = dict(num_steps=12, fsdp=2, validate_every=6, checkpoint_every=4)
    outcome = tiny.train(run, data, config={}, seed=5, **options)
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
