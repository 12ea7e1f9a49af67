"""Check the settings of this host's services, as each would at its start.

`python -m infra.supervisor.settings_check SERVICE…` prints a JSON object: service → what is wrong,
in a sentence; services in order are left out. A process of its own, as it imports the services.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from infra.supervisor.configuration import spec_of
from infra.supervisor.host import LAUNCHERS_OWN, SETTINGS, Host, HostError
from infra.supervisor.services import Service

WITH_SETTINGS = ("gpu_server", "backend", "telegram_bot")


def settings_faults(
    host: Host, names: Sequence[str], further: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return for each service with a wrong setting the sentence that says so."""
    done = subprocess.run(  # noqa: S603
        (sys.executable, "-m", "infra.supervisor.settings_check", *names),
        cwd=host.root,
        env={**os.environ, **host.exported, **(further or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return {"settings": f"The settings cannot be checked: {last}"}
    return dict(json.loads(done.stdout))


def check_settings(host: Host, services: Sequence[Service]) -> None:
    """Raise `HostError` with every fault; nothing has been changed then."""
    checked = [s for s in services if s.command[1:] == ("-m", s.name) and s.name in WITH_SETTINGS]
    further = {name: value for service in checked for name, value in service.env.items()}
    names = [service.name for service in checked]
    if names and (faults := settings_faults(host, names, further)):
        lines = "\n".join(f"  {name}: {fault}" for name, fault in faults.items())
        raise HostError(f"Nothing was changed, as these settings would prevent a start:\n{lines}")


def unseen_settings(
    host: Host, services: Sequence[Service], started_with: Mapping[str, str]
) -> str:
    """Return a sentence on settings of the environment that `services` do not get, or "".

    The supervisor passes on the environment that it was started with itself, `started_with`.
    """
    passed_on = {name for service in services for name in spec_of(host, service)["env"]}
    given = {name: value for name, value in os.environ.items() if name.startswith(SETTINGS)}
    new = [n for n in given.keys() - passed_on - LAUNCHERS_OWN if started_with.get(n) != given[n]]
    if not new or not started_with:
        return ""
    return (
        f"{', '.join(sorted(new))} in this environment differs from what the services were started "
        "with, and they keep that until ./startup.sh restart, without names, restarts all of them."
    )


def main(names: Sequence[str]) -> None:
    faults: dict[str, str] = {}
    for name in names:
        module = import_module(f"{name}.settings")
        try:
            import_module("web.settings").load(module.Settings, module.ENV_FILE)
        except ValueError as error:
            faults[name] = str(error)
    print(json.dumps(faults))


if __name__ == "__main__":
    main(sys.argv[1:])
