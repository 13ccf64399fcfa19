#!/bin/sh
# From a fresh clone to a running broker: installs what is missing, builds into build/, starts it.
#
#   sh examples/quickstart.sh [--port N] [--build-only]
#
# Debian and its relatives; root, or sudo for the installation only. Nothing outside of this folder
# is changed but for the packages. Run again, it takes seconds.
set -eu
cd "$(dirname "$0")/.."

port=1883
build_only=no

usage() {
    echo "usage: sh examples/quickstart.sh [--port N] [--build-only]" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
    --port) [ $# -ge 2 ] || usage; port=$2; shift ;;
    --port=*) port=${1#--port=} ;;
    --build-only) build_only=yes ;;
    *) usage ;;
    esac
    shift
done
case $port in
'' | *[!0-9]*) usage ;;
esac

packages="gcc libc6-dev meson ninja-build pkg-config libev-dev libfyaml-dev libssl-dev libsqlite3-dev zlib1g-dev libleveldb-dev libcrypt-dev libargon2-dev"

install_missing() {
    command -v dpkg-query >/dev/null || return 0 # not Debian: Meson says what it lacks
    missing=
    for package in $packages; do
        # shellcheck disable=SC2016
        case $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || :) in
        installed) ;;
        *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    echo "installing:$missing"
    as_root=
    if [ "$(id -u)" != 0 ]; then
        as_root=sudo
        command -v sudo >/dev/null || {
            echo "not root, and no sudo: install these, then run this again" >&2
            exit 1
        }
    fi
    $as_root apt-get -qq update
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
        install $missing >/dev/null
    installed=$missing
}

# Quiet when all is well, complete when not.
quietly() {
    if ! "$@" >build/quickstart.log 2>&1; then
        cat build/quickstart.log
        echo "failed: $*" >&2
        exit 1
    fi
}

installed=
install_missing
mkdir -p build
[ -f build/build.ninja ] || quietly meson setup build --buildtype=release -Dtests=disabled
echo "building ..."
quietly ninja -C build
[ "$build_only" = no ] || { echo "built: build/pigeond"; exit 0; }

options="-p $port"
[ ! -f build/plugins/sys.so ] || options="$options -o plugins.sys={}"
kept="in memory: nothing survives a restart"
if [ -f build/plugins/store-sqlite.so ]; then
    mkdir -p build/state
    options="$options -o persistence=sqlite -o state_dir=build/state"
    kept="in build/state/store.sqlite: what was acknowledged survives restarts and crashes"
fi

cat <<END

Pigeon, an MQTT broker for 3.1, 3.1.1 and 5.0, is starting on 127.0.0.1, port $port.

  installed   ${installed:-nothing, all was there}
  built       build/pigeond and the plugins in build/plugins/
  started     build/pigeond $options
  loaded      $(ls build/plugins/*.so | sed 's,.*/,,; s,\.so$,,' | tr '\n' ' ')
  who may in  anybody on this machine, nobody from elsewhere
  kept        $kept

Type in other terminals (mosquitto-clients has both commands):

  mosquitto_sub -p $port -t '#' -v
  mosquitto_pub -p $port -t hello -m world

  mosquitto_sub -p $port -t '\$SYS/#' -v        the broker's own numbers
  build/pigeond -t -c examples/pigeon.yaml     test a configuration
  build/pigeond --help

Ctrl-C stops it. Its log follows.

END
# shellcheck disable=SC2086
exec build/pigeond $options
