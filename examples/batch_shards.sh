#!/usr/bin/env bash
# One batch in two parts, as two machines with a common disk would do it, and the merge.
# Usage: batch_shards.sh [OUT [more options of `glualign batch`]]
set -euo pipefail
cd "$(dirname "$0")"
out=${1:-../out/batch_shards}
mkdir -p "$out"
printf 'source,target\n%s\n%s\n' "graf1.png,graf3.png" "leuvenA.jpg,leuvenB.jpg" |
    sed "2,\$s|[^,]*|$PWD/&|g" > "$out/pairs.csv"

for part in 1 2; do
    glualign batch --pairs "$out/pairs.csv" -o "$out/aligned" --shard "$part/2" "${@:2}"
done

# Without --shard, the manifests of the parts become one, and whatever a part left undone is done.
glualign batch --pairs "$out/pairs.csv" -o "$out/aligned" "${@:2}"
