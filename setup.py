"""Packaging of brain-diffusion-jax; tool settings live in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "brain_diffusion_jax/__init__.py").read_text()).group(1)

setup(
    name="brain-diffusion-jax",
    version=VERSION,
    description="Conditional diffusion models of brain MRI in JAX, with an honest evaluation",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["brain_diffusion_jax", "brain_diffusion_jax.*"]),
    package_data={"brain_diffusion_jax": ["py.typed", "evaluation/report/*.html", "evaluation/explore/*.html"]},
    install_requires=[
        "array_record>=0.8.1",
        "flax>=0.12",
        "grain>=0.2.12",
        "h5py>=3.11",  # visits links without following them
        "importlib_resources>=6",  # tensorflow-datasets imports it without naming it on newer Pythons
        "jax>=0.10",
        "jaxtyping>=0.2.36",
        "jinja2>=3.1",
        "matplotlib>=3.9",
        "ml_collections>=1.0",
        "nibabel>=5.3",
        "numba>=0.61",
        "numpy>=2",
        "optax>=0.2.5",
        "orbax-checkpoint>=0.11.32",
        "pillow>=10.1",
        "safetensors>=0.5",
        "scikit-image>=0.25",
        "scipy>=1.14",
        "tensorboardX>=2.6.2.2",
        "tensorflow-datasets>=4.9.7",
        "tqdm>=4.66",
    ],
    extras_require={
        "test": ["chex", "hypothesis", "mypy", "pytest", "pytest-xdist", "pyyaml", "ruff", "shtab"],
        "parity": ["deepbet>=1.0.2,<1.1", "keras>=3", "monai>=1.4", "torch==2.13.0"],
        "beam": ["apache-beam"],
        "bids": ["bids-validator-deno"],
        "completion": ["shtab"],
        "cuda": ["jax[cuda13]"],
        "deepbet": ["deepbet>=1.0.2,<1.1"],  # its weights; torch, which it requires, reads them
        "docs": ["mkdocs-material>=9.6", "mkdocstrings[python]>=0.30"],
        "hub": ["huggingface_hub>=1"],
        "notebooks": ["ipykernel", "jupytext>=1.16", "nbmake>=1.5"],
        "template": ["nilearn"],
        "tpu": ["jax[tpu]"],  # libtpu, also to compile for a pod that is not there
    },
    entry_points={"console_scripts": ["brain-diffusion=brain_diffusion_jax.cli.main:main"]},
)
