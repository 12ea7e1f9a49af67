"""`modes check` and `modes list`: the modes of this host, and every fault of the broken ones."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.supervisor.host import Host
from workflows.catalog import Catalog, load

_BROKEN = 4
_USAGE = 2


def catalog_of(host: Host) -> Catalog:
    """Load the catalogue of this host; faults are in its `broken`."""
    own = host.setting("EASEL_WORKFLOWS_DIR")
    return load(*([Path(host.root, own)] if own else []))


def check(host: Host, names: Sequence[str], *, as_json: bool) -> int:
    """Print every fault of these modes, or of all; return 0, 4 for a fault, 2 for a bad name."""
    catalog = catalog_of(host)
    if unknown := [n for n in names if n not in catalog.modes and n not in catalog.broken]:
        known = ", ".join((*catalog.modes, *catalog.broken))
        print(f"error: no mode {', '.join(unknown)}; there are {known}", file=sys.stderr)
        return _USAGE
    broken = {n: list(why) for n, why in catalog.broken.items() if not names or n in names}
    if as_json:
        reasons = [{"mode": n, "reason": fault} for n, why in broken.items() for fault in why]
        print(json.dumps({"ok": not broken, "reasons": reasons}))
        return _BROKEN if broken else 0
    for faults in broken.values():
        print("\n".join(faults))
    print("Checked without ComfyUI: whether it has the nodes and models, GET /modes shows.")
    return _BROKEN if broken else 0


def show(host: Host, *, as_json: bool) -> int:
    """Print each mode with its styles, or why it is broken; return 0."""
    catalog = catalog_of(host)
    rows = [{"mode": m.name, "styles": list(m.styles), "faults": []} for m in catalog]
    rows += [{"mode": n, "styles": [], "faults": list(f)} for n, f in catalog.broken.items()]
    if as_json:
        print(json.dumps({"modes": rows}))
        return 0
    for row in rows:
        words = "broken: " + "; ".join(row["faults"]) if row["faults"] else ", ".join(row["styles"])
        print(f"{row['mode']:<16} {words}")
    return 0
