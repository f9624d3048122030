# zsh -f capture.zsh FOLDER LINE: what a TAB after LINE offers, a candidate a line, where FOLDER
# holds completion functions. A second shell, in a pseudo-terminal, completes for real.

if [[ $1 == inside ]]; then
  PROMPT=
  fpath=($2 $fpath)
  autoload -Uz compinit
  compinit -u -d $2/.zcompdump
  bindkey '^I' complete-word
  say_end() { print -r -- END }
  comppostfuncs=(say_end)
  compadd() {
    # Calls that fill arrays add nothing.
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
    local -a hits
    builtin compadd -A hits "$@"
    (( $#hits )) && print -rl -- "HIT "${^hits}
    builtin compadd "$@"
  }
  print READY
  return
fi

setopt extended_glob
zmodload zsh/zpty
zpty inner zsh -f -i
zpty -w inner "source ${(q)0:A} inside ${(q)1}"
zpty -r inner line '*READY*'
zpty -w -n inner "$2"$'\t'
while zpty -r inner line; do
  line=${line%%[$'\r\n']##}
  [[ $line == *"HIT "* ]] && print -r -- "${line##*HIT }"
  [[ $line == *END* ]] && break
done
zpty -d inner
