#!/usr/bin/env bash
# AddressSanitizer, with debug assertions, under the Python suite. Needs Rust with its linker (cc and ar)
# and a Python that has what the tests need; the module that is tested is built here, whatever is
# installed. Arguments go to pytest in place of the whole suite; --selftest: only the planted bugs.
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"

"$python" -c 'import hypothesis, numpy, pytest' || die "$python lacks what the tests need: pip install '.[test]'"
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address -Cdebug-assertions" CARGO_INCREMENTAL=0

step "the runtime, as a library that can be preloaded"
# The toolchain has it as an archive to be linked into programs, which needs a part that libraries may
# not have, and do not need.
archive=$(find "$(rustc --print sysroot)/lib/rustlib/$host/lib" -name 'librustc*_rt.asan.a' | head -n 1)
[ -n "$archive" ] || die "the Rust toolchain has no AddressSanitizer runtime for $host"
mkdir -p "$work/asan"
runtime=$work/asan/runtime.so
cp "$archive" "$work/asan/runtime.a"
ar d "$work/asan/runtime.a" asan_preinit.cpp.o
cc -shared -o "$runtime" -Wl,--whole-archive "$work/asan/runtime.a" -Wl,--no-whole-archive \
    -Wl,-init=__asan_init -lpthread -ldl -lm -lrt

# Memory comes from malloc in the size asked for, Python's own included: recycled blocks would hide what
# the sanitizer looks for. A thread pool that is replaced is leaked by design.
export AUTODAN_MEMORY=exact PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
# The C++ library, if there is one, right behind the runtime, which looks for it at the start only.
run=(env LD_PRELOAD="$runtime:libstdc++.so.6" "$python")

build_planted asan --target "$host"
bug='import ctypes, sys; ctypes.CDLL(sys.argv[1]).planted(sys.argv[2].encode())'
in_python=("${run[@]}" -c "$bug" "$work/asan/$host/debug/libautodan_planted.so")
expect_silence "${in_python[@]}" nothing
for name in read-behind write-behind read-before write-before; do
    expect_report 'AddressSanitizer: heap-buffer-overflow' "${in_python[@]}" "$name"
done
expect_report 'AddressSanitizer: heap-use-after-free' "${in_python[@]}" read-after-free
expect_report 'attempt to add with overflow' "${in_python[@]}" overflow
end_of_selftest "$@"

step "the module"
CARGO_TARGET_DIR=$work/asan cargo build --quiet --locked --target "$host" -p autodan-py
package=$work/asan/package
rm -rf "$package"
mkdir -p "$package"
cp -R python/autodan "$package/autodan"
cp "$work/asan/$host/debug/lib_core.so" "$package/autodan/_core.abi3.so"
export PYTHONPATH=$package
"${run[@]}" -c 'from autodan import _core; assert _core.build_info()["debug_assertions"], _core.__file__'

step "the Python suite"
# In files, where the reports of subprocesses and of captured tests are found, too.
reports=$work/asan/reports
rm -rf "$reports"
mkdir -p "$reports"
export ASAN_OPTIONS=$ASAN_OPTIONS:log_path=$reports/report
status=0
# Generated calls have so much time each that the sanitizer makes some of them late.
"${run[@]}" -m pytest -q -o addopts= -o timeout=3000 -p no:cacheprovider \
    --deselect tests/test_bad_calls.py::test_generated_calls_give_a_result_or_a_documented_exception \
    "${@:-tests}" || status=$?
# An allocation that is refused is no more than a warning there.
mapfile -t found < <(grep -lrE 'ERROR: AddressSanitizer|CHECK failed' "$reports")
echo "AddressSanitizer: ${#found[@]} reports, in $reports"
if [ "${#found[@]}" -gt 0 ]; then
    head -n 40 "${found[@]}"
    exit 1
fi
exit "$status"
