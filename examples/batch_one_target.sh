#!/usr/bin/env bash
# All images onto one, with one global motion each: scans of a page, exposures of a scene, a stack to be merged.
# Usage: batch_one_target.sh [OUT [more options of `glualign batch`]]
set -euo pipefail
cd "$(dirname "$0")"
out=${1:-../out/batch_one_target}

# A glob in quotes is matched by glualign, which never meets the length limit of a command line.
glualign batch "rubberwhale*.png" --target rubberwhale1.png -o "$out" \
    --transform homography --write warped,transform "${@:2}"
cat "$out"/rubberwhale2_transform.txt
