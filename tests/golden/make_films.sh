#!/bin/sh
# Writes films/: three patches of known colours (red 200 30 40, green 30 180 60, blue 40 60 210; x 0, 32, 64) as ffmpeg (tried
# with 5.1) stores them in each matrix and range, and frames at 0, 0.1 and 0.4 s. Their head is at the front.
set -eu
cd "$(dirname "$0")"
mkdir -p films
make() { # NAME FILTER OPTION...
  name=$1 filter=$2
  shift 2
  ffmpeg -v error -y -f lavfi -i color=0xc81e28:s=32x32:r=10:d=0.5,format=rgb24 \
    -f lavfi -i color=0x1eb43c:s=32x32:r=10:d=0.5,format=rgb24 \
    -f lavfi -i color=0x283cd2:s=32x32:r=10:d=0.5,format=rgb24 \
    -filter_complex "[0][1][2]hstack=inputs=3,$filter" \
    -fflags +bitexact -flags +bitexact -movflags +faststart "$@" "films/$name"
}
scale='scale=flags=accurate_rnd+full_chroma_int'
make bt601.mp4 "$scale:out_color_matrix=bt601:out_range=tv,format=yuv420p" -c:v libx264 -crf 4 -colorspace smpte170m
make bt709.mp4 "$scale:out_color_matrix=bt709:out_range=tv,format=yuv420p" -c:v libx264 -crf 4 -colorspace bt709
make full.mp4 "$scale:out_color_matrix=bt709:out_range=pc,format=yuv420p" -c:v libx264 -crf 4 -colorspace bt709 \
  -color_range pc
make jpeg.avi "$scale:out_color_matrix=bt601:out_range=pc,format=yuvj422p" -c:v mjpeg -q:v 2
make lossless.mkv "format=gbrp" -c:v ffv1
make uneven.mp4 "$scale,format=yuv420p,select='eq(n,0)+eq(n,1)+eq(n,4)'" -fps_mode vfr -c:v libx264
make ten_bit.webm "$scale:out_color_matrix=bt709:out_range=tv,format=yuv420p10" -c:v libvpx-vp9 -crf 4 -b:v 0 \
  -colorspace bt709
