"""`autodan doctor`: what this build of autodan finds on this machine."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib import metadata
from pathlib import Path

from autodan import _core

__all__ = ["cpu_quota", "memory_limit", "physical_memory", "report", "version"]

EXTRAS = {
    "tqdm": "progress bars of downloads",
    "pooch": "downloads of data sets",
    "matplotlib": "pictures: pip install 'autodan[plot]'",
}
CGROUP_ROOT = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")
# cgroup v1 says "no limit" by a number near 2**63.
UNLIMITED = 1 << 60


def report() -> str:
    """Returns the whole report, one line per finding.

    Example:
        >>> report().splitlines()[0].split()[0]
        'autodan'
    """
    lines = [
        ("autodan", f"{version()}, Python {platform.python_version()}, {platform.platform()}"),
        ("instruction set", _isa()),
        ("threads", _threads()),
        ("memory", _memory()),
    ]
    for name, purpose in EXTRAS.items():
        lines.append((name, _installed(name) or f"not installed ({purpose})"))
    width = max(len(title) for title, _ in lines)
    return "\n".join(f"{title:<{width}}  {finding}" for title, finding in lines)


def version() -> str:
    """Returns the version of the installed package.

    Example:
        >>> version()[0].isdigit()
        True
    """
    return metadata.version("autodan")


def cpu_quota(root: Path = CGROUP_ROOT, own: Path = OWN_CGROUP) -> float | None:
    """Returns how many processors the control groups allow this process, None for no limit.

    Args:
        root: where the control groups are mounted.
        own: the file that names the groups of this process.

    Example:
        >>> quota = cpu_quota()
        >>> quota is None or quota > 0
        True
    """
    quotas = []
    for group in _groups(root, own, "cpu"):
        limit, _, period = _text(group / "cpu.max").partition(" ")
        if not limit:
            limit, period = (_text(group / f"cpu.cfs_{n}_us") for n in ("quota", "period"))
        if limit.isdigit() and period.isdigit() and int(period):  # "max" and -1: no limit
            quotas.append(int(limit) / int(period))
    return min(quotas, default=None)


def memory_limit(root: Path = CGROUP_ROOT, own: Path = OWN_CGROUP) -> int | None:
    """Returns the bytes that the control groups allow this process, None for no limit.

    Args:
        root: where the control groups are mounted.
        own: the file that names the groups of this process.

    Example:
        >>> limit = memory_limit()
        >>> limit is None or limit > 0
        True
    """
    limits = []
    for group in _groups(root, own, "memory"):
        text = _text(group / "memory.max") or _text(group / "memory.limit_in_bytes")
        if text.isdigit() and int(text) < UNLIMITED:
            limits.append(int(text))
    return min(limits, default=None)


def physical_memory(meminfo: Path = MEMINFO) -> tuple[int | None, int | None]:
    """Returns the machine's memory in bytes, total and available, None where unknown.

    Args:
        meminfo: Linux's account of its memory.

    Example:
        >>> total, available = physical_memory()
        >>> total is None or total > 0
        True
    """
    rows = dict(line.split(":", 1) for line in _text(meminfo).splitlines() if ":" in line)
    total, available = (_kibibytes(rows.get(n, "")) for n in ("MemTotal", "MemAvailable"))
    if total is None and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return total, available


def _isa() -> str:
    forced = os.environ.get("AUTODAN_ISA")
    origin = f", forced by AUTODAN_ISA={forced}" if forced else ""
    return f"{_core.isa()} (available: {', '.join(_core.available_isas())}{origin})"


def _threads() -> str:
    quota = cpu_quota()
    limit = "no control-group quota" if quota is None else f"control-group quota {quota:g}"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_core.num_threads()} ({limit}; {usable} usable of {os.cpu_count()} processors)"


def _memory() -> str:
    total, available = physical_memory()
    limit = memory_limit()
    parts = [f"{_gib(total)} in all", f"{_gib(available)} available"]
    parts.append(
        "no control-group limit" if limit is None else f"control-group limit {_gib(limit)}"
    )
    return ", ".join(parts)


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:.1f} GiB"


def _installed(name: str) -> str | None:
    if importlib.util.find_spec(name) is None:
        return None
    return metadata.version(name)


def _kibibytes(text: str) -> int | None:
    number = text.split()[0] if text.split() else ""
    return int(number) * 1024 if number.isdigit() else None


def _groups(root: Path, own: Path, controller: str) -> list[Path]:
    """The folders of this process's groups and of all that hold them: each one's limit counts."""
    folders = []
    for line in _text(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2, one hierarchy
            base = root
        elif controller in controllers.split(","):
            base = root / controller
        else:
            continue
        group = base / path.lstrip("/")
        folders += [group, *(parent for parent in group.parents if parent.is_relative_to(base))]
    return folders


def _text(path: Path) -> str:
    """The content of a small system file, empty where there is none to read."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
