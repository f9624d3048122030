#!/bin/sh
# Makes what is in this folder, with the programs of an older build: make.sh FOLDER
# shellcheck disable=SC2086  # $T and $m are words
set -eu
BIN=$(cd "${1:?the folder of the programs}" && pwd)
export ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE OMP_NUM_THREADS=1
rm -rf text views video corpus objects renders; mkdir text views video
T="--threads 1 --dtype float32 --seed 7 -q"
# --- text
mkdir corpus
python3 - <<'P'
import random
words="the a small river runs under old stone bridge and children throw bread to ducks while rain falls on roofs of town where nobody speaks".split()
for name,seed,n in (("a.txt",1,900),("b.txt",2,200)):
    r=random.Random(seed)
    out=[]
    while len(out)<n:
        k=r.randrange(4,11)
        s=[r.choice(words) for _ in range(k)]
        s[0]=s[0].capitalize(); s[-1]+='.'
        out+=s
    open("corpus/"+name,"w").write(" ".join(out)+"\n")
P
"$BIN"/lact-tokenize text train --model-type bpe --vocab-size 310 -q -o text/tokenizer.model corpus/
"$BIN"/lact-tokenize text encode --model text/tokenizer.model --validation-files 'b*' -q -o text/data corpus/
(cd text && "$BIN"/lact-train text --preset tiny --data data -o run --steps 6 --save-every 3 --keep 2 --eval-every 3 --log-every 1 --warmup-steps 2 \
  --hidden-size 16 --num-hidden-layers 2 --num-attn-heads 2 --num-lact-heads 1 --lact-chunk-size 16 --window-size 8 --intermediate-size 16 \
  --seq-len 48 --batch-size 2 --lr 3e-3 $T)
# --- views
mkdir objects
python3 - <<'P'
v=[(x,y,z) for x in(-.5,.5) for y in(-.3,.3) for z in(-.4,.4)]
f=[(1,2,4,3),(5,7,8,6),(1,5,6,2),(3,4,8,7),(1,3,7,5),(2,6,8,4)]
for n,c in (("red",(.8,.2,.1)),("blue",(.1,.3,.9)),("green",(.2,.7,.2))):
    open(f"objects/{n}.mtl","w").write("".join(f"newmtl m{i}\nKd {c[0]*(1-.1*i):.2f} {c[1]*(1-.1*i):.2f} {c[2]*(1-.1*i):.2f}\n" for i in range(6)))
    open(f"objects/{n}.obj","w").write(f"mtllib {n}.mtl\n"+"".join(f"v {x} {y} {z}\n" for x,y,z in v)+"".join(f"usemtl m{i}\nf {a} {b} {d} {e}\n" for i,(a,b,d,e) in enumerate(f)))
P
"$BIN"/lact-tokenize views objects --size 16 --views 8 --seed 1 -q -o renders objects/
"$BIN"/lact-tokenize views pack --size 16 --holdout 3 -q -o views/data renders/scenes.json
(cd views && "$BIN"/lact-train views --preset tiny --data data -o run --steps 6 --save-every 3 --keep 2 --eval-every 3 --log-every 1 --warmup-steps 2 \
  --dim 16 --layers 1 --patch-size 4 --attention-head-dim 8 --fast-head-dim 8 --views 6 --input-views 3 --target-views 3 --batch-size 2 --lr 3e-3 $T)
# --- video
"$BIN"/lact-tokenize video pan --size 8 --block 2 --step 2 --frames 8 --count 6 --validation 2 -q --seed 3 -o video/data
(cd video && "$BIN"/lact-train video --preset nano --data data -o run --steps 6 --save-every 3 --keep 2 --eval-every 3 --log-every 1 --warmup-steps 2 \
  --dim 16 --ffn-dim 32 --num-heads 2 --num-layers 2 --freq-dim 16 --fw-head-dim 8 --text-dim 8 --codec pca --codec-factor 2 --codec-channels 4 --patch-size 2 --batch-size 2 --chunks 4 --lr 3e-3 $T)
# --- as if the runs had been stopped after step 3
for m in text views video; do
  cp $m/run/checkpoints/step-6/model.safetensors $m/final.safetensors
  rm -r $m/run/checkpoints/step-6
  ln -sfn checkpoints/step-3 $m/run/latest
done
cp corpus/b.txt text/b.txt
# --- states of the models of step 3, and what goes on from them
"$BIN"/lact-generate text --model text/run -p 'The old bridge' -n 20 --temp 0 --save-state text/continued.state $T
"$BIN"/lact-generate text --model text/run --state text/continued.state -n 24 --temp 0 $T > text/continued.txt
"$BIN"/lact-render views --model views/run --data views/data --scene 0 --input-views 3 --save-state views/scene.state $T
"$BIN"/lact-render views --model views/run --state views/scene.state --path turntable:2 -o views/turntable-%d.png $T
"$BIN"/lact-generate video --model video/run -n 4 --steps 4 --save-state video/film.state $T
"$BIN"/lact-generate video --model video/run --state video/film.state -n 4 --steps 4 -o video/film-%d.png $T
"$BIN"/lact-generate text --model text/run --state text/continued.state --score text/b.txt --json $T > text/score.json
