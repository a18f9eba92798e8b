"""MONAI's own schedulers and loops, step by step. Their formulas run on tables in double precision here:
in single precision 1 - alpha_bar loses up to 4 digits near the clean end (1.7e-4 of the last DDPM step)."""

from __future__ import annotations

import itertools
from functools import partial
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.diffusion import levels, samplers, schedules
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.diffusion.samplers import base
from brain_diffusion_jax.diffusion.samplers.ddpm import VARIANCES
from brain_diffusion_jax.diffusion.samplers.exponential import first_order
from brain_diffusion_jax.diffusion.samplers.pndm import PNDM
from brain_diffusion_jax.errors import InputError
from tests.models.random_weights import QUICK

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
pytest.importorskip("monai")

NAMES = {"linear": "linear_beta", "scaled_linear": "scaled_linear_beta", "sigmoid": "sigmoid_beta", "cosine": "cosine"}
KINDS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
SHAPE = (2, 3, 4, 1)
T = 50


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny tensors: threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def theirs(cls, steps=T, double=True, **settings):
    """One of their schedulers, its tables redone in double precision."""
    from monai.networks import schedulers

    scheduler = getattr(schedulers, cls)(num_train_timesteps=steps, schedule="linear_beta", **settings)
    if double:
        scheduler.betas = torch.linspace(1e-4, 2e-2, steps, dtype=torch.float64)
        scheduler.alphas = 1 - scheduler.betas
        scheduler.alphas_cumprod = torch.cumprod(scheduler.alphas, 0)
        if not settings.get("set_alpha_to_one", cls == "DDIMScheduler") and cls != "DDPMScheduler":
            scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    return scheduler


def ours(kind, clip=False, steps=T, **settings):
    return Process(schedule="linear", num_train_steps=steps, prediction=kind, clip_x0=clip, **settings)


def arrays(count, channels=1, seed=0):
    """x and network outputs for every time: [count, *SHAPE]."""
    rng = np.random.default_rng(seed)
    shape = (count, *SHAPE[:-1], channels)
    return rng.normal(size=(count, *SHAPE)).astype(np.float32), rng.normal(size=shape).astype(np.float32)


def as_torch(x):
    """Channels first, double."""
    return torch.from_numpy(np.moveaxis(np.asarray(x, np.float64), -1, 1))


def as_numpy(x):
    return np.moveaxis(x.numpy(), 1, -1)


def steps_of(sampler, process, x, output, start, stop, keys):
    """Our sampler's step for every time at once: x [times, ...], levels [times]."""

    def one(x, output, level, next_level, keys):
        denoise = process.denoise_fn(lambda x, t, condition: output)
        return sampler.step(lambda x, level: denoise(x, level, None), x, level, next_level, sampler.init(x), keys)[0]

    single = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), (start, stop))
    return np.asarray(jax.jit(jax.vmap(one))(x, output, *single, keys))


def random_keys(count):
    return jax.vmap(partial(base.sample_keys, batch=SHAPE[0]))(jax.random.split(jax.random.key(5), count))


def noise_of(keys, x):
    return np.asarray(jax.vmap(base.gaussian)(keys, jnp.asarray(x)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [10, 1000])
def test_alpha_bar_tables(name, steps):
    from monai.networks.schedulers import DDPMScheduler

    got = schedules.make(name, steps).alpha_bar
    want = DDPMScheduler(steps, NAMES[name]).alphas_cumprod.double().numpy()
    np.testing.assert_allclose(got, want, rtol=3e-5 if name != "cosine" else 1e-3, atol=1e-6)
    assert np.abs(got - want).max() <= 1e-5


def test_their_older_cosine_is_kept_for_import_only():
    """MONAI 1.4 and 1.5 returned f(t/T) for t = 0..T-1 (scheduler.py: alphas_cumprod[:-1])."""
    x = np.linspace(0, 1000, 1001)
    curve = np.cos((x / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    curve /= curve[0]
    got = schedules.make("cosine_monai").alpha_bar
    np.testing.assert_allclose(got, curve[:-1], rtol=1e-12)
    assert got[0] == 1
    # One place later it is the published table, but for the capped last level.
    np.testing.assert_allclose(got[1:], schedules.make("cosine").alpha_bar[:-1], rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_ddpm_steps_for_every_time(kind):
    times = np.arange(T)
    for variance, clip in itertools.product(VARIANCES, (False, True)):
        learned = variance.startswith("learned")
        x, output = arrays(T, 2 if learned else 1)
        if learned:
            output[..., 1:] = np.abs(np.tanh(output[..., 1:]))
        keys, process = random_keys(T), ours(kind, clip)
        start, stop = process.table.level(times), process.table.level(times - 1)
        got = steps_of(samplers.get("ddpm", variance=variance), process, x, output, start, stop, keys)
        scheduler = theirs("DDPMScheduler", variance_type=variance, clip_sample=clip, prediction_type=KINDS[kind])
        noise = noise_of(keys, x)
        for t in times:
            with mock.patch("torch.randn", return_value=as_torch(noise[t])):
                want = scheduler.step(as_torch(output[t]), int(t), as_torch(x[t]))[0]
            np.testing.assert_allclose(got[t], as_numpy(want), atol=1e-5, err_msg=f"{variance} clip={clip} t={t}")


@pytest.mark.parametrize("kind", KINDS)
def test_ddim_steps_for_every_time_forward_and_inverted(kind):
    x, output = arrays(T)
    keys = random_keys(T)
    noise = noise_of(keys, x)
    for eta, clip, num_steps, to_one in itertools.product((0.0, 1.0), (False, True), (T, 10), (True, False)):
        process = ours(kind, clip, clip_keeps_eps=True)
        scheduler = theirs("DDIMScheduler", clip_sample=clip, prediction_type=KINDS[kind], set_alpha_to_one=to_one)
        scheduler.set_timesteps(num_steps)
        times, stride = np.arange(T), T // num_steps
        down = np.where(times < stride, -1 if to_one else 0, times - stride)
        start, stop = process.table.level(times), process.table.level(down)
        got = steps_of(samplers.get("ddim", eta=eta), process, x, output, start, stop, keys)
        for t in times:
            with mock.patch("torch.randn", return_value=as_torch(noise[t])):
                want = scheduler.step(as_torch(output[t]), int(t), as_torch(x[t]), eta=eta)[0]
            message = f"eta={eta} clip={clip} n={num_steps} one={to_one} t={t}"
            np.testing.assert_allclose(got[t], as_numpy(want), atol=1e-5, err_msg=message)
        if eta or not to_one:
            continue
        up = times[: T - stride]
        rise = process.table.level(up + stride)
        rows = jax.tree.map(lambda v, up=up: v[up], (x, output, start, keys))
        got = steps_of(samplers.get("euler"), process, *rows[:3], rise, rows[3])
        for t in up:
            want = scheduler.reversed_step(as_torch(output[t]), int(t), as_torch(x[t]))[0]
            np.testing.assert_allclose(got[t], as_numpy(want), atol=1e-5, err_msg=f"inverted {message}")


@pytest.mark.parametrize("kind", ["eps", "v"])
@pytest.mark.parametrize("to_one", [True, False])
def test_pndm_steps_for_every_time_and_every_history(kind, to_one):
    x, output = arrays(T)
    history = np.random.default_rng(1).normal(size=(3, *SHAPE)).astype(np.float32)
    process, sampler = ours(kind), PNDM(warm_up=False)
    times, stride = np.arange(T), 5
    start = process.table.level(times)
    stop = process.table.level(np.where(times < stride, -1 if to_one else 0, times - stride))
    for known in range(4) if kind == "eps" else (0,):

        def one(x, output, level, next_level, known=known):
            denoise = process.denoise_fn(lambda x, t, condition: output)
            if not known:  # theirs starts with a DDIM step
                return first_order(denoise(x, level, None), next_level)
            carry = jnp.asarray(history), jnp.asarray(known)
            return sampler.step(lambda x, level: denoise(x, level, None), x, level, next_level, carry, None)[0]

        single = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), (start, stop))
        got = np.asarray(jax.jit(jax.vmap(one))(x, output, *single))
        scheduler = theirs("PNDMScheduler", skip_prk_steps=True, set_alpha_to_one=to_one, prediction_type=KINDS[kind])
        scheduler.set_timesteps(T // stride)
        for t in times:
            scheduler.counter = 5 if known else 0
            scheduler.ets = [as_torch(h) for h in history[:known][::-1]]
            want = scheduler.step(as_torch(output[t]), int(t), as_torch(x[t]))[0]
            np.testing.assert_allclose(got[t], as_numpy(want), atol=1e-5, err_msg=f"known={known} t={t}")


def test_their_long_table_at_a_stride():
    """T = 1000, epsilon, clipped: the published system."""
    times = np.unique(np.append(np.arange(0, 1000, 37), [1, 2, 998, 999]))
    x, output = arrays(len(times))
    keys, process = random_keys(len(times)), ours("eps", True, 1000)
    start, stop = process.table.level(times), process.table.level(times - 1)
    got = steps_of(samplers.get("ddpm"), process, x, output, start, stop, keys)
    scheduler, noise = theirs("DDPMScheduler", 1000), noise_of(keys, x)
    for i, t in enumerate(times):
        with mock.patch("torch.randn", return_value=as_torch(noise[i])):
            want = scheduler.step(as_torch(output[i]), int(t), as_torch(x[i]))[0]
        np.testing.assert_allclose(got[i], as_numpy(want), atol=1e-5, err_msg=f"t={t}")


@pytest.mark.parametrize("offset", [0, 1, 7])
def test_spacing_and_steps_offset(offset):
    from monai.networks.schedulers import DDIMScheduler, DDPMScheduler, PNDMScheduler

    table = schedules.make("linear")
    for num_steps in (1, 7, 50, 1000 - offset):
        ddim = DDIMScheduler(1000, steps_offset=offset)
        ddim.set_timesteps(num_steps)
        start, stop = levels.strided_pairs(table, num_steps, steps_offset=offset)
        assert start.t.tolist() == ddim.timesteps.tolist()
        assert stop.t.tolist() == [max(int(t) - 1000 // num_steps, -1) for t in ddim.timesteps]
        assert levels.select(table, num_steps, "linear", steps_offset=offset).t[:-1].tolist() == start.t.tolist()
        pndm = PNDMScheduler(1000, skip_prk_steps=True, steps_offset=offset)
        pndm.set_timesteps(num_steps)
        leading = levels.select(table, num_steps, "leading", steps_offset=offset)
        assert leading.t[:-1].tolist() == [min(int(t), 999) for t in pndm.timesteps]
        if not offset:
            ddpm = DDPMScheduler(1000)
            ddpm.set_timesteps(num_steps)
            assert levels.select(table, num_steps, "linear").t[:-1].tolist() == ddpm.timesteps.tolist()


def test_the_spacing_named_monai_steps_as_theirs_and_leading_as_generative_models():
    """50 steps of 1000: 980, 960 .. 0 before MONAI 1.4; since then points that 20 does not divide."""
    from monai.networks.schedulers import DDIMScheduler

    table = schedules.make("scaled_linear", 1000, 0.0015, 0.0205)
    scheduler = DDIMScheduler(1000, "scaled_linear_beta", beta_start=0.0015, beta_end=0.0205)
    scheduler.set_timesteps(50)
    start, stop = levels.steps(table, 50, "monai")
    assert start.t.tolist() == scheduler.timesteps.tolist()
    assert stop.t.tolist() == [max(t - 20, -1) for t in scheduler.timesteps.tolist()]
    assert levels.steps(table, 50, "leading").t.tolist() == [*range(980, -1, -20), -1]
    with pytest.raises(InputError, match="spacing"):
        levels.steps(table, 50, "monay")


class _TheirNetwork(torch.nn.Module):
    """A small smooth function of x and t that both sides can write; it mixes neighbouring pixels."""

    def forward(self, x, timesteps, context=None):
        t = (timesteps.float() / 1000)[:, None, None, None]
        return torch.tanh(0.8 * x + 0.3 * torch.roll(x, 1, 2) - 0.2 * torch.cos(3 * t)) * (0.6 + 0.4 * t)


def _our_network(x, t, condition):
    t = (t / 1000)[:, None, None, None]
    return jnp.tanh(0.8 * x + 0.3 * jnp.roll(x, 1, 1) - 0.2 * jnp.cos(3 * t)) * (0.6 + 0.4 * t)


@pytest.mark.parametrize(("cls", "steps"), [("DDIMScheduler", 50), ("DDPMScheduler", 1000)])
def test_whole_loops_equal_their_own(cls, steps):
    """MONAI's DiffusionInferer in its own single precision, the same noise: <= 1e-3."""
    from monai.inferers import DiffusionInferer

    scheduler = theirs(cls, 1000, double=False)
    scheduler.set_timesteps(steps)
    key = jax.random.key(2)
    x = base.initial_noise(key, (2, 6, 5, 1))
    keys = base.sample_keys(key, 2)
    noise = jax.jit(jax.vmap(lambda i: base.gaussian(jax.vmap(jax.random.fold_in, (0, None))(keys, i), x)))
    drawn = iter(np.moveaxis(np.asarray(noise(jnp.arange(steps))), -1, 2))
    with mock.patch("torch.randn", side_effect=lambda *a, **k: torch.from_numpy(next(drawn).copy())):
        first = torch.from_numpy(np.moveaxis(np.asarray(x), -1, 1).copy())
        want = DiffusionInferer(scheduler).sample(first, _TheirNetwork(), scheduler, verbose=False)
    process = ours("eps", True, 1000, clip_keeps_eps=True)
    path = levels.strided_pairs(process.table, steps) if steps == 50 else levels.select(process.table, 1000)
    sampler = samplers.get("ddim" if steps == 50 else "ddpm")
    got = jax.jit(lambda x: base.run(sampler, process.denoise_fn(_our_network), x, path, None, key))(x)
    assert np.abs(np.asarray(got)).std() > 0.05
    np.testing.assert_allclose(got, as_numpy(want), atol=1e-3)


def _latent_network():
    """MONAI's UNet as the published brain model has it (planes and a token of 4 conditions), tiny; and ours of it."""
    from brain_diffusion_jax.conversion import monai
    from brain_diffusion_jax.models import factory
    from tests.conversion import monai_cases

    arguments = dict(
        spatial_dims=3,
        in_channels=7,
        out_channels=3,
        channels=(4, 8),
        num_res_blocks=1,
        attention_levels=(False, True),
        norm_num_groups=2,
        resblock_updown=True,
        num_head_channels=(0, 8),
        with_conditioning=True,
        cross_attention_dim=4,
        upcast_attention=True,
    )
    net = monai_cases.network(arguments)
    converted = monai.from_monai(
        monai_cases.state_of(net), num_head_channels=(0, 8), norm_num_groups=2, upcast_attention=True
    )
    return net, factory.unet(converted.model), converted.params


def test_fifty_steps_of_the_published_brain_model():
    """leading: the loop of GenerativeModels, written here. monai: the installed MONAI's own. Both <= 1e-3."""
    from monai.networks.schedulers import DDIMScheduler

    net, module, params = _latent_network()
    planes = np.asarray([[1.0, 0.4, 0.2, 0.7]], np.float32)
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 2, 3)).astype(np.float32)
    scheduler = DDIMScheduler(
        1000, "scaled_linear_beta", beta_start=0.0015, beta_end=0.0205, clip_sample=False, set_alpha_to_one=True
    )
    scheduler.set_timesteps(50)
    context = torch.from_numpy(planes)[:, None]

    def their_network(image, t):
        told = context[:, 0, :, None, None, None].expand(-1, -1, *image.shape[2:])
        return net(torch.cat((image, told), dim=1), timesteps=torch.tensor([t]), context=context)

    first, bar = torch.from_numpy(np.moveaxis(x, -1, 1).copy()), scheduler.alphas_cumprod
    with torch.no_grad():
        monai = first
        for t in scheduler.timesteps.tolist():
            monai, _ = scheduler.step(their_network(monai, t), t, monai)
        leading = first
        for t in range(980, -1, -20):
            now, after = bar[t], bar[t - 20] if t >= 20 else torch.tensor(1.0)
            noise = their_network(leading, t)
            clean = (leading - (1 - now).sqrt() * noise) / now.sqrt()
            leading = after.sqrt() * clean + (1 - after).sqrt() * noise
    process = Process("scaled_linear", 1000, 0.0015, 0.0205, prediction="eps", clip_x0=False)

    def network(x, t, condition):
        told = jnp.broadcast_to(planes[:, None, None, None], (*x.shape[:-1], 4))
        return module.apply({"params": params}, jnp.concatenate([x, told], -1), t, planes[:, None])

    def sample(x, path):
        return base.run(samplers.get("ddim"), process.denoise_fn(network), x, path, None, jax.random.key(0))

    paths = [base.as_pairs(levels.steps(process.table, 50, name), jnp.float32) for name in ("leading", "monai")]
    program = jax.jit(sample).lower(x, paths[0]).compile(QUICK)
    for path, want in zip(paths, (leading, monai), strict=True):
        want = as_numpy(want)
        assert want.std() > 0.1
        np.testing.assert_allclose(program(x, path), want, atol=1e-3 * np.abs(want).max())
    assert np.abs(as_numpy(leading - monai)).max() > 0.01
