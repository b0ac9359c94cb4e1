#!/usr/bin/env bash
# Two folders in, results out; safe to run again after any interruption.
# Usage: batch_folders.sh [OUT [more options of `glualign batch`]]
set -euo pipefail
cd "$(dirname "$0")"
out=${1:-../out/batch_folders}
mkdir -p "$out/before" "$out/after"

# Pairs are matched by name without the extension, sub-folders included.
for pair in "graf1.png graf3.png graf" "aloeL.jpg aloeR.jpg plants/aloe" "leuvenA.jpg leuvenB.jpg cars/leuven"; do
    read -r source target name <<< "$pair"
    mkdir -p "$out/before/$(dirname "$name")" "$out/after/$(dirname "$name")"
    cp -p "$source" "$out/before/$name.${source##*.}"
    cp -p "$target" "$out/after/$name.${target##*.}"
done

status=0
glualign batch "$out/before" "$out/after" -o "$out/aligned" --report "${@:2}" || status=$?

case $status in
    0) echo "all pairs are done: open $out/aligned/report.html" ;;
    3) echo "some pairs failed; see $out/aligned/summary.csv" ;;
    *) exit "$status" ;;
esac
