#!/usr/bin/env bash
# One pair: the warped image, the flow and its picture; then a decision on the quality.
# Usage: warp_pair.sh [OUT [more options of `glualign warp`]]
set -euo pipefail
cd "$(dirname "$0")"
out=${1:-../out/warp_pair}

glualign warp graf1.png graf3.png -o "$out/" "${@:2}"

# --json prints one object for scripts; --min-quality turns the verdict into the exit code.
if glualign warp aloeL.jpg aloeR.jpg -o "$out/" --min-quality good --json "${@:2}" > "$out.json"; then
    echo "the second pair is good"
else
    echo "the second pair is not good enough, nothing was written"
fi
