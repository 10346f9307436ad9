#!/usr/bin/env bash
# Guard pages: the tests of the Rust crates and the Python suite, on the installed package, with every
# buffer between pages that nobody may touch. Arguments go to pytest in place of the whole suite;
# --selftest: only the planted bugs.
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

build_planted guard
bug=$work/guard/debug/autodan-planted
for side in after before; do
    export AUTODAN_MEMORY=guard-$side
    expect_silence "$bug" nothing
    where=$([ $side = after ] && echo behind || echo before)
    for name in read-$where write-$where read-after-free; do
        expect_report signal "$bug" "$name"
    done
done
end_of_selftest "$@"

for side in after before; do
    export AUTODAN_MEMORY=guard-$side
    step "$AUTODAN_MEMORY: the tests of the Rust crates"
    cargo test --quiet -p autodan-kernels -p autodan-core --lib --tests
    step "$AUTODAN_MEMORY: the Python suite"
    "$python" -m pytest -q -o addopts= -p no:cacheprovider "${@:-tests}"
done
