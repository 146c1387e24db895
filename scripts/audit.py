"""Looks for known holes in what is installed: python scripts/audit.py. Exit code 1 when there is one.

First against our own bounds, then with pip-audit, where the advisories can be read.
"""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
SAFE_VERSIONS = ROOT / "scripts" / "safe_versions.txt"
ACCEPTED: dict[str, str] = {}
"""Holes that have no release to go to, and why they are none here."""

INSTALLERS = {"pip", "setuptools"}
"""Come with each new environment, in whatever release, and are no part of the service."""


def main() -> None:
    """Entry point."""
    problems = [*too_old(), *reported()]
    for problem in problems:
        print(problem)
    sys.exit(bool(problems))


def too_old() -> list[str]:
    """Installed packages outside our own bounds."""
    problems = []
    for wanted in bounds():
        try:
            installed = version(wanted.name)
        except PackageNotFoundError:
            continue
        if (wanted.marker is None or wanted.marker.evaluate()) and installed not in wanted.specifier:
            problems.append(f"{wanted.name} {installed} is installed, safe is {wanted.specifier}")
    return problems


def bounds() -> list[Requirement]:
    """pyproject.toml's ranges, and those of what the packages there bring along."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    lines += [text for line in SAFE_VERSIONS.read_text().splitlines() if (text := line.split("#")[0].strip())]
    return [Requirement(line) for line in lines]


def reported() -> list[str]:
    """What pip-audit finds. Nothing where it can't read the advisories: that is no reason to stop."""
    ignored = [option for hole in ACCEPTED for option in ("--ignore-vuln", hole)]
    command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner=off", "-f", "json"]
    done = subprocess.run([*command, *ignored], capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        packages = []
    looked_up = [package for package in packages if "vulns" in package]
    print(f"Advisories read for {len(looked_up)} of {len(packages)} packages")
    if not looked_up:
        print("pip-audit could read none, so our own list is all that was asked")
    return [
        f"{package['name']} {package['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'none'}"
        for package in looked_up
        if package["name"] not in INSTALLERS
        for hole in package["vulns"]
    ]


if __name__ == "__main__":
    main()
