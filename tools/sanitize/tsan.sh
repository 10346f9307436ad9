#!/usr/bin/env bash
# ThreadSanitizer on the tests of the Rust crates that use several threads. The standard library is built
# with it, too, since its locks are how threads synchronise: the toolchain needs its source. Arguments
# name other tests of the kernels than the usual ones; --selftest: only the planted bugs.
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

[ -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library/std" ] ||
    die "the Rust toolchain lacks the source of the standard library: rustup component add rust-src"
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=thread" CARGO_INCREMENTAL=0
export AUTODAN_MEMORY=exact TSAN_OPTIONS=halt_on_error=1
build=(-Zbuild-std --target "$host")

build_planted tsan "${build[@]}"
bug=$work/tsan/$host/debug/autodan-planted
expect_silence "$bug" nothing
for name in race-in-tasks race-of-publishing; do
    expect_report 'ThreadSanitizer: data race' "$bug" "$name"
done
end_of_selftest "$@"

export CARGO_TARGET_DIR=$work/tsan
step "the kernels: the pool, memory, and all that runs at several numbers of threads"
[ $# -gt 0 ] || set -- par:: buffer:: thread
cargo test --quiet --locked "${build[@]}" -p autodan-kernels --lib -- "$@"

step "tensors and variables that threads share"
cargo test --quiet --locked "${build[@]}" -p autodan-core --test threads
