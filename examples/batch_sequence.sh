#!/usr/bin/env bash
# Frames of a film, each onto the first, which holds the camera still.
# Usage: batch_sequence.sh [OUT [more options of `glualign batch`]]
set -euo pipefail
cd "$(dirname "$0")"
out=${1:-../out/batch_sequence}
mkdir -p "$out/frames"
cp -p rubberwhale1.png "$out/frames/frame9.png"
cp -p rubberwhale2.png "$out/frames/frame10.png" # natural order: 9 comes before 10

glualign batch --sequence "$out/frames" --onto first -o "$out/still" --write warped "${@:2}"
