"""python -m tune_app.cloud.sweep_service start | follow | status | stop | run"""

from __future__ import annotations

import sys

from tune_app.cloud.sweep_service.commands import MODULE, app
from tune_app.command_line import run_command

if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
