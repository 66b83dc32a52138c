# shellcheck shell=bash
# What the recording scripts share. Sourced by bash, never run.
#
#   dataset NAME KIND        the workload default/KIND/NAME, labelled app=NAME
#   start RUN COMMAND...     watches COMMAND from its first exec, in the background
#   stop SIGNAL              passes SIGNAL on to the command; it must end with exit code 0
#   watched RUN COMMAND...   watches COMMAND until it ends by itself, with exit code 0
#   ready COMMAND...         waits until COMMAND succeeds
#   unused PORT...           fails if something listens already
#   finish                   checks the runs, writes NAME.parquet and NAME.policy.yaml
#
# Whatever these scripts do beside `start` and `watched` happens outside of the observed command.
# With TRACE=DIR nothing is exported: each run is attached to by strace at its first exec, and DIR
# gets RUN.strace, RUN.json, RUN.start, RUN.dirs and RUN.scripts (see tests/strace-compare).

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
datasets=$(realpath "${DATASETS:-$here/..}")
LEARNER=$(realpath "${LEARNER:-$here/../../target/release/learner}")
TRACE=${TRACE:-}
srv=/srv/learner-datasets
runs=0
cd /
observer=
tracer=

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

[ "${THROWAWAY:-}" = yes ] || fail "this clears the data of nginx, redis and postgresql and signals
them; if this machine is made for that, say so with THROWAWAY=yes"
[ "$(id -u)" = 0 ] || fail "observing needs root"

scratch=$(mktemp -d /var/tmp/learner-datasets.XXXXXX)
# A service has no terminal, no input, and little in its environment.
service_env=(env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8)
observe_env=("${service_env[@]}")
undo=()

leave() {
    local code=$?
    if [ -n "$observer" ]; then
        kill -TERM "$observer" 2>/dev/null && sleep 1
        kill -TERM "$observer" 2>/dev/null || true
        cat "$scratch"/*.log >&2
    fi
    for step in "${undo[@]}"; do eval "$step"; done
    rm -rf "$scratch"
    exit "$code"
}
trap leave EXIT

# afterwards COMMAND: eval'ed when the script ends, however it ends.
afterwards() { undo+=("$1"); }

dataset() {
    name=$1 kind=$2
    mkdir -p "$srv/$name"
    # The recording names the observer as the parent of the first exec, so it is at a fixed place.
    install -D -m 755 "$LEARNER" "$srv/bin/learner"
    LEARNER=$srv/bin/learner
}

# unused PORT...: what is to be recorded must not run already.
unused() {
    local port
    for port; do
        ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "port $port is in use"
    done
}

ready() {
    local tries=300
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "waited 30 s in vain for: $*"
        if [ -n "$observer" ] && ! kill -0 "$observer" 2>/dev/null; then
            fail "the observed command ended before: $*"
        fi
        sleep 0.1
    done
}

observe() {
    local run=$1 policy=(-o "$scratch/$1.yaml")
    shift
    [ -z "$TRACE" ] || policy=(-f json -o "$TRACE/$run.json")
    exec setsid "${observe_env[@]}" "$LEARNER" --store "$scratch/store" observe \
        --name "default/$kind/$name" --label "app=$name" --run "$run" "${policy[@]}" -- "$@" \
        </dev/null >"$scratch/$run.out" 2>"$scratch/$run.log"
}

start() {
    current=$1
    shift
    runs=$((runs + 1))
    if [ -z "$TRACE" ]; then
        observe "$current" "$@" &
        observer=$!
    else
        observe "$current" /bin/sh -c 'kill -STOP $$; exec "$@"' sh "$@" &
        observer=$!
        attach "$current"
    fi
}

# The shell that has stopped itself is the first thing that strace sees.
attach() {
    local child
    mkdir -p "$TRACE"
    ready shell_has_stopped
    child=$(pgrep -P "$observer")
    ls -l "/proc/$child/exe" "/proc/$child/cwd" >"$TRACE/$1.start"
    strace -f -qq -y -s 4096 -e trace=%file,%desc,%process,bind -e signal=none \
        -o "$TRACE/$1.strace" -p "$child" 2>"$scratch/$1.tracer" &
    tracer=$!
    ready is_traced "$child"
    kill -CONT "$child"
}

shell_has_stopped() {
    local child
    child=$(pgrep -P "$observer") && grep -q '^State:.T (stopped)' "/proc/$child/status" &&
        grep -qx sh "/proc/$child/comm"
}

is_traced() { ! grep -q '^TracerPid:.0$' "/proc/$1/status"; }

ended() {
    local code=0
    wait "$observer" || code=$?
    observer=
    [ -z "$tracer" ] || wait "$tracer" || true
    tracer=
    if [ -n "$TRACE" ]; then
        find /etc /run /srv /var -xdev -type d >"$TRACE/$current.dirs"
        find "$srv/$name" -type f -perm -u+x -exec grep -Im 1 -H '^#!' {} + >"$TRACE/$current.scripts" || true
    fi
    [ "$code" = 0 ] || fail "$current ended with $code: $(cat "$scratch/$current".{out,log})"
    echo "  $current: $(grep -om1 '[0-9]* events, .*' "$scratch/$current.log" || true)"
}

stop() {
    kill "-$1" "$observer"
    ended
}

watched() {
    start "$@"
    ended
}

# For a client's answer: status URL CODE [CURL OPTION...]
status() {
    local url=$1 want=$2 got
    shift 2
    got=$(curl -sk -o /dev/null -w '%{http_code}' "$@" "$url") || true
    [ "$got" = "$want" ] || fail "$url answered $got, not $want"
}

finish() {
    [ -z "$TRACE" ] || return 0
    local file=$datasets/$name.parquet state
    learner() { "$LEARNER" --store "$scratch/store" "$@"; }
    state=$(learner runs -f json | python3 -c '
import json, sys
(row,) = json.load(sys.stdin)
lost = row["lost"]
print(row["runs"], row["partial"], sum(lost.values()) if isinstance(lost, dict) else lost)')
    [ "$state" = "$runs 0 0" ] || fail "runs, partial runs and lost events are $state; wanted $runs 0 0"
    rm -f "$file"
    learner -q export -f parquet -n default -l "app=$name" -o "$file"
    chmod 644 "$file"
    "$LEARNER" -q recommend --from "$file" -o - >"$datasets/$name.policy.yaml"
    echo "$name: $runs runs, $(learner export | wc -l) lines, $(stat -c %s "$file") bytes"
}
