#!/bin/sh
# Builds and tests everything: installs what is missing, builds into build-test/ with warnings as
# errors and assertions on, runs the suite (unit tests, checks, ABI gate, protocol, specification and
# plugin tests with one and with two event loops). Less than ten minutes on two cores.
#
#   sh tests/run.sh [--all]
#
# --all adds what takes longer, less than fifty minutes together: clang, address and undefined
# behaviour sanitizers, thread sanitizer with two and eight event loops, a moment of fuzzing per
# target, real clients (mosquitto, paho, MQTT.js in Node.js and in Chromium).
#
# The last line is `N passed, N failed`; the exit status says the same.
set -u
cd "$(dirname "$0")/.." || exit 1

all=no
for arg in "$@"; do
    case $arg in
    --all) all=yes ;;
    *) echo "usage: sh tests/run.sh [--all]" >&2; exit 2 ;;
    esac
done

export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 NODE_PATH=/usr/share/nodejs:/usr/lib/nodejs
# What a sanitizer finds must end the program, at once and loudly.
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:exitcode=86:detect_stack_use_after_return=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
TSAN_OPTIONS="halt_on_error=0 exitcode=86 atexit_sleep_ms=0 suppressions=$PWD/tests/tsan.supp"
export TSAN_OPTIONS

jobs=$(nproc)
results=$(mktemp -d) || exit 1
trap 'rm -rf "$results"' EXIT
trap 'exit 130' INT TERM
: >"$results/list"
began=$(date +%s)

say() {
    echo "== $(($(date +%s) - began)) s: $*"
}

# ---- packages -------------------------------------------------------------------------------

install_missing() {
    command -v dpkg-query >/dev/null || return 0
    missing=
    for package in "$@"; do
        case $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) in
        installed) ;;
        *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    say "installing$missing"
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    $as_root apt-get -qq update
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
        install $missing >"$results/apt.log" 2>&1 || { cat "$results/apt.log"; return 1; }
}

# ---- building and running -------------------------------------------------------------------

# build FOLDER [MESON OPTION]...: configures (again) and compiles all of it.
build() {
    folder=$1
    shift
    say "building $folder"
    mkdir -p "$folder"
    again=
    [ ! -f "$folder/build.ninja" ] || again=--reconfigure
    if ! meson setup $again "$folder" -Dtests=enabled -Dwerror=true "$@" >"$folder/build.log" 2>&1 ||
        ! ninja -j "$jobs" -C "$folder" >>"$folder/build.log" 2>&1; then
        grep -E -A12 '(error|warning|ERROR):|FAILED:' "$folder/build.log" | head -100
        record "$folder does not build" fail
        return 1
    fi
}

# record LABEL RESULT: RESULT is pass, fail or a log of Meson.
record() {
    echo "$1=$2" >>"$results/list"
}

# check FOLDER LABEL [OPTION OF MESON TEST]...
check() {
    folder=$1 label=$2
    shift 2
    log=$folder/meson-logs/run-$label
    say "testing $label"
    rm -f "$log".* "$log"-all.*
    meson test -C "$folder" --no-rebuild --num-processes $((jobs * 2)) --logbase "run-$label" "$@" \
        >"$results/$label.log" 2>&1 || echo "details: $(ls "$log"*.txt)"
    sed -n '/^Ok:/,/^Timeout:/p' "$results/$label.log" | tr -s ' \n' ' '
    echo
    [ ! -f "$log-all.json" ] || log=$log-all # Meson adds the name of the setup
    record "$label" "$log.json"
}

# Several tests at a time spend most of their time waiting; sanitizers make all of them slower.
standard() {
    build build-test && check build-test standard
}

clang_build() {
    CC=clang build build-clang --buildtype=release && check build-clang clang --suite unit
}

address() {
    build build-asan -Db_sanitize=address,undefined -Db_lundef=false &&
        PIGEON_TEST_DEADLINE=30 check build-asan address --timeout-multiplier 4
}

threads() {
    build build-tsan -Db_sanitize=thread -Db_lundef=false &&
        PIGEON_TEST_DEADLINE=30 check build-tsan threads --timeout-multiplier 6 --setup all \
            --suite unit --suite threads2 --suite threads8 --no-suite clients
}

# MQTT.js as a browser has it, which Debian does not package.
mqttjs_for_browsers() {
    folder=build-test/mqttjs
    PIGEON_TEST_MQTTJS=$PWD/$folder/package/dist/mqtt.min.js
    export PIGEON_TEST_MQTTJS
    [ ! -f "$PIGEON_TEST_MQTTJS" ] || return 0
    say "fetching MQTT.js"
    command -v npm >/dev/null || install_missing npm || return 1
    mkdir -p "$folder" && (cd "$folder" && npm pack --silent mqtt@5 && tar -xzf mqtt-*.tgz) \
        >"$results/npm.log" 2>&1 || { cat "$results/npm.log"; return 1; }
}

clients() {
    mqttjs_for_browsers || record "MQTT.js for browsers cannot be fetched" fail
    check build-test clients --setup all --suite clients
}

# fuzz_one TARGET: a moment of fuzzing that starts from the stored corpus.
fuzz_one() {
    target=$1
    mkdir -p "build-fuzz/corpus/$target"
    if "build-fuzz/tests/fuzz/fuzz_$target" -max_total_time=15 -max_len=8192 -rss_limit_mb=2048 \
        -timeout=10 -artifact_prefix="build-fuzz/crash-$target-" "build-fuzz/corpus/$target" \
        "tests/fuzz/corpus/$target" >"build-fuzz/fuzz-$target.log" 2>&1; then
        record "fuzz $target" pass
    else
        tail -40 "build-fuzz/fuzz-$target.log"
        record "fuzz $target" fail
    fi
}

fuzz() {
    CC=clang build build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false || return
    say "fuzzing"
    n=0
    for program in build-fuzz/tests/fuzz/fuzz_*; do
        [ -f "$program" ] && [ -x "$program" ] || continue
        fuzz_one "${program##*/fuzz_}" &
        n=$((n + 1))
        [ $((n % jobs)) != 0 ] || wait
    done
    wait
    [ $n -gt 0 ] || record "fuzz: no target was built" fail
}

# ---- all of it ------------------------------------------------------------------------------

install_missing gcc g++ libc6-dev meson ninja-build pkg-config python3 libev-dev libfyaml-dev \
    libsqlite3-dev zlib1g-dev libleveldb-dev libcrypt-dev libargon2-dev libssl-dev openssl libcmocka-dev || record "packages cannot be installed" fail
standard
if [ $all = yes ]; then
    install_missing clang libclang-rt-14-dev mosquitto-clients python3-paho-mqtt nodejs node-mqtt chromium \
        postgresql libpq-dev ||
        record "packages for --all cannot be installed" fail
    clients
    clang_build
    address
    threads
    fuzz
fi

say "done"
set --
while IFS= read -r line; do
    set -- "$@" "$line"
done <"$results/list"
python3 tests/tally.py "$@"
status=$?
exit $status
