# What the scripts beside this one share; to be sourced.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Builds and reports, outside of the source tree.
work=${AUTODAN_SANITIZE_DIR:-${TMPDIR:-/tmp}/autodan-sanitize}
mkdir -p "$work"
host=$(rustc -vV | sed -n 's/^host: //p')
# The interpreter itself: a script in its place would have the runtime loaded into a shell.
python=$("${PYTHON:-python3}" -c 'import sys; print(sys.executable)')

step() {
    printf '\n== %s\n' "$1"
}

die() {
    printf '%s\n' "$1" >&2
    exit 1
}

# build_planted JOB ARGUMENTS...: the planted bugs, built into $work/JOB with the flags of the environment.
build_planted() {
    local job=$1
    shift
    step "the planted bugs: each is to be found, and nothing where there is none"
    CARGO_TARGET_DIR=$work/$job cargo build --quiet --locked "$@" \
        --manifest-path tools/sanitize/planted/Cargo.toml
}

# expect_report REPORT COMMAND...: the command fails and prints REPORT; "signal": it is killed by one.
expect_report() {
    local report=$1 status=0 output
    shift
    output=$( ("$@") 2>&1) || status=$?
    if [ "$report" = signal ]; then
        [ "$status" -gt 128 ] || status=0
    elif ! grep -q "$report" <<<"$output"; then
        status=0
    fi
    [ "$status" -ne 0 ] || die "not found: ${*: -1}, by $*
$output"
    echo "found: ${*: -1}"
}

# expect_silence COMMAND...: the command without a bug passes.
expect_silence() {
    "$@" >/dev/null || die "a false alarm, by $*"
    echo "silent: ${*: -1}"
}

# Ends a script that was asked for the planted bugs only.
end_of_selftest() {
    if [ "${1:-}" = --selftest ]; then
        exit 0
    fi
}
