#!/bin/sh
# Writes films/: three patches of known colours (red 200 30 40, green 30 180 60, blue 40 60 210; x 0, 32, 64) as ffmpeg (tried
# with 5.1) stores them in each matrix and range, and frames at 0, 0.1 and 0.4 s. Their head is at the front. Then one film of each
# kind that is shown otherwise than it is stored, or not at all.
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
quiet() { ffmpeg -v error -y -fflags +bitexact "$@"; }
bar="color=black:s=64x32:r=20:d=0.4[b];color=white:s=8x32:r=20[w];[b][w]overlay=x=t*120:shortest=1"
# A white bar that moves by 6 pixels from field to field.
quiet -f lavfi -i "$bar" -vf tinterlace=interleave_top,format=yuv420p -c:v libx264 -flags +bitexact+ildct+ilme -x264-params tff=1 -crf 10 \
  films/interlaced.mp4
# Pixels twice as wide as high: 32 x 32 are shown as 64 x 32.
quiet -f lavfi -i color=gray:s=32x32:r=10:d=0.3 -vf setsar=2/1,format=yuv420p -c:v libx264 -flags +bitexact films/anamorphic.mp4
# The left half is transparent, and red below.
clear="color=red:s=32x32:r=10:d=0.3,format=rgba,geq=r=255:g=0:b=0:a='if(lt(X,16),0,255)'"
quiet -f lavfi -i "$clear" -c:v qtrle -flags +bitexact films/alpha.mov
quiet -f lavfi -i "$clear" -pix_fmt yuva420p -c:v libvpx-vp9 -crf 4 -b:v 0 -flags +bitexact films/alpha.webm
quiet -f lavfi -i color=gray:s=32x32:r=10:d=0.3 -vf format=yuv420p -c:v libx264 -flags +bitexact -color_trc smpte2084 -color_primaries bt2020 \
  -colorspace bt2020nc films/pq.mp4
quiet -f lavfi -i testsrc2=s=64x48:r=10:d=0.5 -vf format=yuv420p -c:v libx264 -flags +bitexact -encryption_scheme cenc-aes-ctr \
  -encryption_key 00112233445566778899aabbccddeeff -encryption_kid 000102030405060708090a0b0c0d0e0f films/encrypted.mp4
# Four shades, an hour each.
quiet -f lavfi -i "color=black:s=32x32:r=10:d=0.4,geq=lum=20+60*N:cb=128:cr=128" -vf "setpts=N*3600/TB" -r 1/3600 -c:v libx264 -bf 0 \
  -pix_fmt yuv420p -flags +bitexact films/hours.mp4
# Red and green for 0.1 s, blue for 2 s.
quiet -f lavfi -i "color=red:s=16x16:r=10:d=0.1[a];color=lime:s=16x16:r=10:d=0.1[b];color=blue:s=16x16:r=10:d=0.1[c];[a][b][c]concat=3:1:0" -fps_mode passthrough \
  -final_delay 200 -flags +bitexact films/delays.gif
# A film of 6 frames twice, one file behind the other.
quiet -f lavfi -i testsrc2=s=32x32:r=10:d=0.6 -vf format=yuv420p -c:v mpeg2video -flags +bitexact -f mpegts films/once.ts
cat films/once.ts films/once.ts > films/twice.ts
rm films/once.ts
quiet -f lavfi -i testsrc2=s=32x32:r=10:d=0.3 -c:v zmbv -flags +bitexact films/unknown_codec.avi
quiet -f lavfi -i testsrc2=s=32x32:r=10:d=0.3 -c:v mjpeg -q:v 5 -pix_fmt yuvj420p -flags +bitexact -f mjpeg films/raw.mjpeg
quiet -f lavfi -i testsrc2=s=16x16:r=10:d=0.3 -plays 0 -f apng films/moving.apng
