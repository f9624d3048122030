#!/bin/sh
# On a Debian without lact, as root, after ./dev package: the packages install, the installed tools
# do what the demo does, a plugin is built against them, and they are removed without trace.
# usage: tests/house/package.sh [LIBTORCH]
set -eu
cd "$(dirname "$0")/../.."
libtorch=$(realpath "${1:-$(echo .venv/lib/python3*/site-packages/torch)}")
packages=$(realpath build-package/*.deb)
text=$(realpath README.md HACKING.md)
tree=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
passed=0
is() { # WHAT: of the last command
  passed=$((passed + 1))
  echo "ok: $1"
}

# What may not stay: files of the package's folders, and anything that bears its name.
traces() {
  find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /root -o -path /home -o -path /tmp -o -path "$tree" \
    -o -path /var/cache/apt -o -path /var/lib/apt -o -path /var/log -o -path /var/tmp \) -prune -o -name '*lact*' -print | sort
}
traces >before

# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y $packages pkgconf make g++ >apt.log 2>&1 || { cat apt.log; exit 1; }
is 'the packages install'

status=0
env -u LACT_LIBTORCH lact-bench plugins 2>words || status=$?
[ $status = 69 ]
[ "$(wc -l <words)" = 1 ]
grep -q 'LibTorch .* was not found' words
is 'without LibTorch a tool says so and ends with 69'

export LACT_LIBTORCH="$libtorch"
lact-bench plugins | grep -q 'language models'
mkdir corpus
# shellcheck disable=SC2086
cp $text corpus/
lact-tokenize text train --model-type bpe --vocab-size 400 -o tokenizer.model corpus/
lact-tokenize text encode --model tokenizer.model -o data corpus/
lact-train text --preset tiny --data data -o run --steps 3 --seq-len 128 --batch-size 1 --lact-chunk-size 32 --window-size 32
lact-generate text --model run -f corpus/README.md -n 0 --save-state book.state
lact-generate text --model run --state book.state -p 'The' -n 20 --temp 0 >words
[ -s words ]
is 'the tools of the demo tokenize, train, keep a state and generate'

cp -r /usr/share/doc/lact/examples/plugin .
gunzip -q plugin/*.gz 2>/dev/null || :
make -C plugin demo STEPS=10 >plugin.log 2>&1 || { cat plugin.log; exit 1; }
is 'a plugin is built against lact-dev, trains and generates'

man -w lact-train >/dev/null 2>&1 || [ -e /usr/share/man/man1/lact-train.1.gz ]
is 'the pages are there'

for page in README.md RELEASING.md docs/glossary.md examples/video.svg; do
  [ -s "/usr/share/doc/lact/$page" ]
done
is 'the documents are there under the names that their links have'

dpkg --purge lact-dev lact >/dev/null
traces >after
diff before after
is 'nothing is left after they were removed'
echo "tests: $passed passed, 0 failed"
