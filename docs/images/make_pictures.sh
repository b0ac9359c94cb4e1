#!/bin/sh
# Draws the pictures of the README and of docs/pictures.md anew from examples/: sh docs/images/make_pictures.sh
# The screenshot of the report is taken afterwards: python docs/images/take_screenshot.py build/pictures/report.html
set -eu
cd "$(dirname "$0")/../.."
work="${1:-build/pictures}"
out="${2:-docs/images}"
glualign="${GLUALIGN:-python -m glualign}"
mkdir -p "$work"

for pair in "graf1.png graf3.png" "rubberwhale1.png rubberwhale2.png"; do
  set -- $pair
  stem="${1%.*}"
  $glualign warp "examples/$1" "examples/$2" -o "$work/" --mask "$work/$stem.mask.png" -q
done
$glualign flow examples/graf3.png examples/graf1.png -o "$work/graf_back.flo" -q

graf="$work/graf1_flow.flo -q --size 800 --quality 86"
below="$graf --target examples/graf3.png"
masked="$below --source examples/graf1.png --mask $work/graf1.mask.png"
$glualign viz "$work/rubberwhale1_flow.flo" -q -o "$out/wheel.png"
$glualign viz $below --style arrows -o "$out/arrows.jpg"
$glualign viz $below --source examples/graf1.png --style grid -o "$out/grid.jpg"
$glualign viz $graf --style magnitude -o "$out/magnitude.jpg"
$glualign viz $graf --mask "$work/graf1.mask.png" --style jacobian -o "$out/jacobian.jpg"
$glualign viz $masked --style mask -o "$out/mask.jpg"
$glualign viz $graf --style error --backward "$work/graf_back.flo" -o "$out/error.jpg"
$glualign viz $masked --style blend -o "$out/blend.jpg"
$glualign viz $masked --style checkerboard -o "$out/checkerboard.jpg"
$glualign viz $masked --style difference -o "$out/difference.jpg"
$glualign viz $masked --style side-by-side --size 1200 -o "$out/side-by-side.jpg"
$glualign viz $masked --style flicker --size 480 -o "$out/flicker.webp"
$glualign report examples/graf1.png examples/graf3.png -q -o "$work/report.html"
python docs/images/draw_before_after.py "$work" "$out/before-after.webp"
