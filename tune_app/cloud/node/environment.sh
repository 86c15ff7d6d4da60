#!/bin/sh
# sh environment.sh [--root /opt/stellux] [--no-packages]
#
# Builds ROOT/env, the Python environment that the head and its workers share: the Python that
# `python-version` names, to the patch version that Ray compares, and what requirements.lock pins.
# An environment that is there already is left as it is; one whose building was cut off is built
# again. --no-packages leaves the system's packages alone, for whoever is not root.
#
# ROOT/env is a link to ROOT/env-HASH. In each environment the file `stellux-environment` comes
# last and holds its HASH, or the word `given` where a machine's image brought ROOT/env along.
# ROOT/setup.json tells what it took: seconds, gigabytes that the machine received, and dollars.
# About 3.1 GB are fetched and 5.6 GB kept, most of it torch's CUDA libraries. The head has them too,
# for its processes exchange pickled objects with the workers': one lock leaves no room to differ.
#
# STELLUX_DOLLARS_PER_GB and STELLUX_DOLLARS_PER_HOUR price it, STELLUX_UV_WHEEL names another
# place for uv's wheel, and UV_DEFAULT_INDEX, UV_FIND_LINKS and the like reach uv as they are.
set -eu
umask 022

FORMAT=1
UV_VERSION=0.13.9
UV_SHA256=d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19
UV_WHEEL=${STELLUX_UV_WHEEL:-https://files.pythonhosted.org/packages/3d/aa/26d64642d808de4a652579ef950d7cd2d37f080a8babf9c67c6b75fc4c3f/uv-$UV_VERSION-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl}
# The environment took 5.6 GB, with torch's CUDA libraries.
NEEDED_GB=8

say() { echo "environment: $*"; }
fail() {
  echo "environment: $*" >&2
  exit 1
}

root=/opt/stellux
packages=yes
while [ $# -gt 0 ]; do
  case $1 in
    --root)
      [ $# -ge 2 ] || fail "--root needs a folder"
      root=$2
      shift
      ;;
    --no-packages) packages=no ;;
    *) fail "unknown argument $1: give --root FOLDER or --no-packages" ;;
  esac
  shift
done

node=$(cd "$(dirname "$0")" && pwd)
lock=$(cd "$node/../../.." && pwd)/requirements.lock
[ -r "$lock" ] || fail "missing $lock: send the whole source, not this script alone"
python=$(cat "$node/python-version")
ray=$(sed -n 's/^ray==\([^ ;]*\).*/\1/p' "$lock")
[ -n "$ray" ] || fail "$lock pins no ray: make it again with make lock"
hash=$({ echo "$FORMAT $python" && cat "$lock"; } | sha256sum | cut -c 1-16)
stamp=stellux-environment

is_current() {
  [ "$(readlink "$root/env" 2>/dev/null)" = "env-$hash" ] &&
    [ "$(cat "$root/env/$stamp" 2>/dev/null)" = "$hash" ]
}

if is_current; then
  say "$root/env is current (Python $python, Ray $ray)"
  exit 0
fi
mkdir -p "$root" || fail "cannot write in $root: run this as root, or give --root FOLDER"
root=$(cd "$root" && pwd)
cd "$root"

# uv inherits the lock: if this script is killed, the next one waits for what it left behind.
exec 9>environment.lock
flock -n 9 || {
  say "waiting for another set-up of $root"
  flock 9
}
if is_current; then
  say "$root/env is current (Python $python, Ray $ray)"
  exit 0
fi

uptime() { cut -d ' ' -f 1 /proc/uptime; }
received() { # Bytes that this machine has received from others since it started.
  sed 's/:/ /' /proc/net/dev | awk 'NR > 2 && $1 != "lo" { sum += $2 } END { printf "%.0f", sum }'
}
began=$(uptime)
received_before=$(received)

# install_for COMMAND PACKAGE ...: wants the packages if the command, or the file, is missing.
wanted=""
install_for() {
  case $1 in
    /*) [ -e "$1" ] && return 0 ;;
    *) command -v "$1" >/dev/null 2>&1 && return 0 ;;
  esac
  shift
  wanted="$wanted $*"
}
get_packages() {
  [ -n "$wanted" ] || return 0
  [ $packages = yes ] || fail "this machine lacks$wanted: install it, or leave --no-packages out"
  [ "$(id -u)" = 0 ] || fail "this machine lacks$wanted and only root installs it: use sudo"
  command -v apt-get >/dev/null || fail "this machine lacks$wanted and has no apt-get: use Ubuntu 24.04 or Debian 12"
  say "installing$wanted"
  # A machine that has just started may hold apt's lock for a while. A server that a package starts
  # must not inherit the lock of this script.
  # shellcheck disable=SC2086 # A word a package.
  {
    apt-get -q -o DPkg::Lock::Timeout=300 update &&
      DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
        install --no-install-recommends $wanted
  } >packages.log 2>&1 9>&- </dev/null || {
    tail -n 20 packages.log >&2
    fail "apt-get could not install$wanted: see $root/packages.log"
  }
  wanted=""
}

if [ $packages = yes ]; then
  install_for /etc/ssl/certs/ca-certificates.crt ca-certificates
  install_for rsync rsync
  install_for ssh openssh-client
  install_for /usr/sbin/sshd openssh-server
  # What torch.compile needs on a GPU, by way of Triton.
  if command -v nvidia-smi >/dev/null 2>&1; then install_for gcc gcc libc6-dev; fi
  get_packages
fi

account() {
  LC_ALL=C awk -v began="$began" -v ended="$(uptime)" -v before="$received_before" \
    -v after="$(received)" -v per_gb="${STELLUX_DOLLARS_PER_GB:-}" \
    -v per_hour="${STELLUX_DOLLARS_PER_HOUR:-}" 'BEGIN {
      seconds = ended - began
      gigabytes = (after - before) / 1e9
      dollars = "null"
      if (per_gb != "" && per_hour != "")
        dollars = sprintf("%.4f", gigabytes * per_gb + seconds / 3600 * per_hour)
      printf "{\"seconds\": %.1f, \"gigabytes\": %.3f, \"dollars\": %s}\n", seconds, gigabytes, dollars
    }'
}

# versions ENVIRONMENT: Python's and Ray's, as they themselves tell them.
versions() {
  "$1/bin/python" -I -c 'import platform, ray; print(platform.python_version(), ray.__version__)'
}
check() {
  found=$(versions "$1") || fail "$1 cannot import ray: $2"
  [ "$found" = "$python $ray" ] ||
    fail "$1 has Python and Ray $found, but Ray needs the head's $python $ray exactly: $2"
}

if [ "$(cat env/$stamp 2>/dev/null)" = given ]; then
  check "$root/env" "take another image, or remove $root/env for one to be built"
  [ -e setup.json ] || account >setup.json
  say "$root/env was given (Python $python, Ray $ray)"
  exit 0
fi
if [ -e env ] && [ ! -L env ]; then
  fail "$root/env is neither a link nor marked as given: move it away, or write 'given' into $root/env/$stamp"
fi

[ "$(uname -m)" = x86_64 ] || fail "requirements.lock is for x86_64; this machine is $(uname -m): take another"

take_uv() {
  has=$(bin/uv --version 2>/dev/null | cut -d ' ' -f 2) || has=""
  [ "$has" != $UV_VERSION ] || return 0
  install_for curl curl
  install_for unzip unzip
  get_packages
  mkdir -p bin
  curl -fsSL --retry 3 --connect-timeout 20 -o bin/uv.whl "$UV_WHEEL" ||
    fail "cannot fetch uv from $UV_WHEEL: see to the network, set STELLUX_UV_WHEEL, or put uv $UV_VERSION at $root/bin/uv"
  found=$(sha256sum bin/uv.whl | cut -d ' ' -f 1)
  [ "$found" = $UV_SHA256 ] || {
    rm -f bin/uv.whl
    fail "$UV_WHEEL has the sha256 $found, not $UV_SHA256: it is not uv $UV_VERSION as published; fetch it from elsewhere"
  }
  unzip -p bin/uv.whl "uv-$UV_VERSION.data/scripts/uv" >bin/uv.new
  chmod 755 bin/uv.new
  mv bin/uv.new bin/uv
  rm -f bin/uv.whl
}

own_cache=no
if [ -z "${UV_CACHE_DIR:-}" ]; then
  # On the environment's own file system, files are linked rather than copied.
  UV_CACHE_DIR=$root/uv-cache
  own_cache=yes
fi
UV_PYTHON_INSTALL_DIR=$root/python
UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-120}
export UV_CACHE_DIR UV_PYTHON_INSTALL_DIR UV_HTTP_TIMEOUT
unset VIRTUAL_ENV PYTHONPATH PYTHONHOME

logged() { "$@" >uv.log 2>&1; }
told() { tail -n 20 uv.log >&2; }
new_venv() {
  rm -rf "env-$hash"
  logged bin/uv venv --no-project --no-python-downloads --python "$python" "env-$hash"
}

build() {
  free_gb=$(df -Pk . | awk 'NR == 2 { printf "%d", $4 * 1024 / 1e9 }')
  [ "$free_gb" -ge $NEEDED_GB ] ||
    fail "$root has $free_gb GB free and the environment needs $NEEDED_GB GB: rent a larger disk (disk_gb), or free some"
  take_uv
  new_venv || {
    say "installing Python $python"
    logged bin/uv python install --no-bin "$python" || {
      told
      fail "cannot install Python $python into $root/python: see to the network, or set UV_PYTHON_INSTALL_MIRROR"
    }
    new_venv || {
      told
      fail "Python $python in $root/python makes no environment: remove $root/python and try again"
    }
  }
  # Compiled here, since those who use it later may not write into it.
  logged bin/uv pip sync --python "env-$hash/bin/python" --require-hashes --only-binary :all: \
    --compile-bytecode "$lock" || {
    told
    fail "cannot install requirements.lock, as uv says above; what was fetched is kept for another try"
  }
  check "$root/env-$hash" "remove $root and try again"
}

if [ "$(cat "env-$hash/$stamp" 2>/dev/null)" != "$hash" ]; then
  for folder in env-*; do
    if [ -d "$folder" ] && [ ! -s "$folder/$stamp" ]; then rm -rf "$folder"; fi
  done
  build
  account >setup.json.new
  mv setup.json.new setup.json
  echo "$hash" >"env-$hash/$stamp.new"
  mv "env-$hash/$stamp.new" "env-$hash/$stamp"
  [ $own_cache = no ] || rm -rf "$UV_CACHE_DIR"
  account=$(cat setup.json)
else
  account="built before"
fi

previous=$(readlink env) || previous=""
ln -sfn "env-$hash" env.new
mv -T env.new env
for folder in env-*; do
  case $folder in
    "env-$hash" | "$previous") ;;
    *) rm -rf "$folder" ;;
  esac
done
say "$root/env is ready (Python $python, Ray $ray): $account"
