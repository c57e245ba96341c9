"""pyproject.toml, requirements.lock and environment.yml ask for the same packages."""

from importlib.metadata import version

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from autograder.lock import ROOT, requirements

FIXED = {"jupyterlab", "numpy", "matplotlib", "nbgrader", "torch", "pytest"}


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pairs = [line.split(";")[0].split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): v for name, v in pairs}


def test_every_requirement_is_locked_at_a_version_it_allows():
    pins = locked()
    for r in map(Requirement, requirements()):
        assert r.specifier.contains(pins[canonicalize_name(r.name)]), r


def test_what_is_installed_here_is_what_the_lock_says():
    here = {name: version(name).split("+")[0] for name in locked()}
    assert here == locked()


def test_the_conda_environment_takes_its_versions_from_the_lock_and_names_the_fixed_packages():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert "--constraint requirements.lock" in pip
    assert FIXED <= set(pip)
    assert FIXED <= {canonicalize_name(Requirement(r).name) for r in requirements()}
    assert "--editable .[lab,torch,gpu,grader,cluster,postgres,site,dev]" in pip
