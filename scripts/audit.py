"""Checks the installed packages for known vulnerabilities: python scripts/audit.py. Exit code 1 if there is one.

It compares their versions with our own bounds, then runs pip-audit if the advisories can be read.
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
"""Vulnerabilities without a fixed release, and why they do not matter here."""

INSTALLERS = {"pip", "setuptools"}
"""Packages that come with each new environment, in any release, and are not part of the service."""


def main() -> None:
    """Entry point."""
    problems = [*too_old(), *reported()]
    for problem in problems:
        print(problem)
    sys.exit(bool(problems))


def too_old() -> list[str]:
    """Return what to report of installed packages outside our own bounds."""
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
    """Return the version ranges of pyproject.toml, and those of indirect dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    lines += [text for line in SAFE_VERSIONS.read_text().splitlines() if (text := line.split("#")[0].strip())]
    return [Requirement(line) for line in lines]


def reported() -> list[str]:
    """Return what pip-audit finds. Nothing if it can't read the advisories: that is no reason to fail."""
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
        print("pip-audit could read none, so only our own list was checked")
    return [
        f"{package['name']} {package['version']}: {hole['id']}, fixed in {', '.join(hole['fix_versions']) or 'none'}"
        for package in looked_up
        if package["name"] not in INSTALLERS
        for hole in package["vulns"]
    ]


if __name__ == "__main__":
    main()
