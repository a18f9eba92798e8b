"""The state and the step of a task under a run's settings: what the loop trains, and what a plan compiles."""

from __future__ import annotations

from brain_diffusion_jax.array_types import Key
from brain_diffusion_jax.training.devices.mesh import Init, Layout, MakeStep
from brain_diffusion_jax.training.settings import TrainSettings
from brain_diffusion_jax.training.state import TrainState, create
from brain_diffusion_jax.training.step import StepFn, build_step
from brain_diffusion_jax.training.task import Task


def initial_state(task: Task, settings: TrainSettings) -> Init:
    """key -> the state that a training begins with."""

    def init(key: Key) -> TrainState:
        return create(task.init(key), task.optimizer, settings.power_ema)

    return init


def step_maker(task: Task, settings: TrainSettings, layout: Layout) -> MakeStep:
    """axis name of pmap, or None under jit -> the pure step, which the layout spreads over devices."""

    def make(axis_name: str | None) -> StepFn:
        return build_step(
            task.make_loss(axis_name),
            task.optimizer,
            ema_decay=settings.ema_decay,
            power_ema=settings.power_ema,
            accumulation=settings.accumulation,
            spike_factor=settings.spike_factor,
            axis_name=axis_name,
            known=task.known,
            summed=layout.summed,
        )

    return make
