# The dead man's switch of a worker: ends the instance when its head has been silent for too long,
# or when its time is over. It is the first thing that the start script starts, and needs nothing
# that comes later: a POSIX shell and coreutils.
#
# `pulse` asks the head by SSH how many seconds ago its daemon was last at work. Without an answer,
# whatever the reason, time runs. What ends the instance depends on the market: `destroy` and `stop`
# come before this text. Each is asked for again and again: a market may be down for a while.
#
# Tests give it other times by STELLUX_SILENT_S, STELLUX_LIFE_S and STELLUX_STEP_S, which stand in
# their node type's `env`.
#
# Only an instance has a number. Where there is none, nothing is to be ended.
[ -z "${CONTAINER_ID-}" ] || (
trap '' HUP
# Since the host's start: setting a clock does not move it.
now() { read -r up _ </proc/uptime; echo "${up%%.*}"; }
pulse() {
  cd @FOLDER && timeout 30 ssh -F config.head -W @NETWORK.@HEAD:@PULSE head </dev/null
}
born=$(now)
heard=$born
while :; do
  asked=$(now)
  age=$(pulse)
  case $age in
    '' | *[!0-9]*) ;;
    *) [ $((asked - age)) -le $heard ] || heard=$((asked - age)) ;;
  esac
  t=$(now)
  if [ $((t - heard)) -lt ${STELLUX_SILENT_S-@SILENT} ] && [ $((t - born)) -lt ${STELLUX_LIFE_S-@LIFE} ]; then
    sleep ${STELLUX_STEP_S-30}
    continue
  fi
  echo "$t: head silent for $((t - heard)) s, here for $((t - born)) s" >>/tmp/switch.log
  destroy
  sleep ${STELLUX_STEP_S-30}
  stop
  sleep ${STELLUX_STEP_S-30}
  # Refused twice. At least nothing of this cluster runs here any more.
  @SHUT
done
) </dev/null >/dev/null 2>&1 &
