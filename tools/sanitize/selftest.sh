#!/usr/bin/env bash
# Shows that each of the jobs finds the bugs that are planted for it, and finds none where there is none.
set -euo pipefail
here=$(dirname "$0")
for job in guard asan tsan; do
    "$here/$job.sh" --selftest
done
