"""python -m tune_app.cloud start | follow | stop | status | reap | open | fetch"""

from __future__ import annotations

import sys

from tune_app.cloud.commands import MODULE, app
from tune_app.command_line import run_command

if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
