// Scripts that know every word, option and kind of value when they are written: a start of LibTorch
// for each TAB would be felt.

#include <lact/cli/completion.hpp>

#include "internal.hpp"

#include <CLI/App.hpp>

#include <algorithm>
#include <functional>
#include <map>

namespace lact::cli {
namespace {

// --- what is declared ----------------------------------------------------------------------------

ValueHint value_hint(const CLI::Option& option, const std::string& label) {
  ValueHint hint{label, choices(option), false, false};
  hint.folders = label.find("DIR") != std::string::npos;
  hint.files = label.find("FILE") != std::string::npos || label.find("PATH") != std::string::npos;
  return hint;
}

/// The first clause of a help text: a list of completions is no manual.
std::string brief(const std::string& help) {
  return help.substr(0, help.find("; "));
}

// --- what all scripts need -----------------------------------------------------------------------

/// Calls visit("text encode", word) for the program ("") and every word below it.
void each_word(const WordHint& word, const std::string& path,
               const std::function<void(const std::string&, const WordHint&)>& visit) {
  visit(path, word);
  for (const auto& next : word.next)
    each_word(next, path.empty() ? next.name : path + " " + next.name, visit);
}

std::string join(const std::vector<std::string>& words, const std::string& between) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

std::vector<std::string> all_names(const WordHint& word,
                                   const std::function<bool(const OptionHint&)>& wanted) {
  std::vector<std::string> names;
  for (const auto& option : word.options)
    if (wanted(option)) names.insert(names.end(), option.names.begin(), option.names.end());
  return names;
}

std::vector<std::string> names_with_value(const WordHint& word) {
  return all_names(word, [](const OptionHint& option) { return !option.value.label.empty(); });
}

/// A name for functions: "lact-train" -> "lact_train".
std::string identifier(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

/// 'text' for bash and zsh.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

std::string origin(const char* shell, const std::string& program) {
  return concat("# ", shell, " completion of ", program, ", as it says itself:\n# ", program,
                " --completion ", shell, "\n");
}

/// Which words name the command, for bash and zsh: `at` walks down the tree by patterns AT:WORD.
std::string walk(const WordHint& program, const char* open) {
  std::string text;
  each_word(program, "", [&](const std::string& path, const WordHint& word) {
    for (const auto& next : word.next)
      text += concat("      ", open, quoted(path + ":" + next.name),
                     ") at=", quoted(path.empty() ? next.name : path + " " + next.name), " ;;\n");
  });
  return text;
}

// --- bash ----------------------------------------------------------------------------------------

std::string bash_values(const WordHint& word) {
  std::map<std::string, std::vector<std::string>> by_action;
  for (const auto& option : word.options) {
    if (option.value.label.empty()) continue;
    std::string action = "return";
    if (!option.value.choices.empty())
      action = concat("words=", quoted(join(option.value.choices, " ")), " options= kind=");
    else if (option.value.files)
      action = "words= options= kind=f";
    else if (option.value.folders)
      action = "words= options= kind=d";
    auto& names = by_action[action];
    names.insert(names.end(), option.names.begin(), option.names.end());
  }
  std::string text;
  for (const auto& [action, names] : by_action)
    text += concat("        ", join(names, " | "), ") ", action, " ;;\n");
  return text;
}

std::string bash_word(const std::string& path, const WordHint& word) {
  std::vector<std::string> next;
  for (const auto& one : word.next) next.push_back(one.name);
  const char* kind = word.positional.files ? "f" : word.positional.folders ? "d" : "";
  return concat(
      "    ", quoted(path), ")\n      words=", quoted(join(next, " ")), " kind=", kind,
      "\n      options=", quoted(join(all_names(word, [](const auto&) { return true; }), " ")),
      "\n      case $prev in\n", bash_values(word), "      esac ;;\n");
}

std::string bash_script(const WordHint& program) {
  const auto function = "_" + identifier(program.name);
  std::string text = origin("bash", program.name) + function + R"(() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} at= i words kind options
  COMPREPLY=()
  # --name=value comes in three words.
  if [[ $cur == = ]]; then cur=
  elif [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case $at:${COMP_WORDS[i]} in
)";
  text +=
      concat("      :", join(names_with_value(program), " | :"), ")\n",
             "        if [[ ${COMP_WORDS[i+1]} == = ]]; then ((i += 2)); else ((i++)); fi ;;\n");
  text += walk(program, "") + "    esac\n  done\n  case $at in\n";
  each_word(program, "",
            [&](const std::string& path, const WordHint& word) { text += bash_word(path, word); });
  text += R"(  esac
  if [[ $cur == -* && -n $options ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
  elif [[ -n $words ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  elif [[ -n $kind ]]; then
    compopt -o filenames 2> /dev/null
    mapfile -t COMPREPLY < <(compgen "-$kind" -- "$cur")
  fi
}
)";
  return text + "complete -F " + function + " " + program.name + "\n";
}

// --- zsh -----------------------------------------------------------------------------------------

/// `text` with a backslash before what _arguments gives a meaning to.
std::string zsh_escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (std::string("\\:[]").find(c) != std::string::npos) result += '\\';
    result += c;
  }
  return result;
}

/// ":label:action"
std::string zsh_value(const ValueHint& value) {
  if (value.label.empty()) return "";
  std::string action = " ";
  if (!value.choices.empty())
    action = "(" + join(value.choices, " ") + ")";
  else if (value.files)
    action = "_files";
  else if (value.folders)
    action = "_files -/";
  return concat(":", zsh_escaped(value.choices.empty() ? value.label : "value"), ":", action);
}

std::string zsh_option(const OptionHint& option) {
  std::string text;
  for (const auto& name : option.names) {
    const bool is_long = name.rfind("--", 0) == 0;
    const char* takes = option.value.label.empty() ? "" : is_long ? "=" : "+";
    const auto once = option.repeatable ? std::string("*") : "(" + join(option.names, " ") + ")";
    text += concat("        ",
                   quoted(concat(once, name, takes, "[", zsh_escaped(brief(option.help)), "]",
                                 zsh_value(option.value))),
                   "\n");
  }
  return text;
}

std::string zsh_word(const std::string& path, const WordHint& word) {
  std::string text = concat("    (", quoted(path), ")\n");
  std::string next;
  for (const auto& one : word.next) next += " " + quoted(zsh_escaped(one.name) + ":" + one.summary);
  if (!next.empty()) text += "      lact_words=(" + next + " )\n";
  text += "      lact_specs=(\n";
  for (const auto& option : word.options) text += zsh_option(option);
  if (!next.empty())
    text += "        '1:word:{ _describe word lact_words }'\n";
  else if (!word.positional.label.empty())
    text += "        " + quoted("*" + zsh_value(word.positional)) + "\n";
  return text + "      ) ;;\n";
}

std::string zsh_script(const WordHint& program) {
  const auto function = "_" + program.name;
  std::string text =
      concat("#compdef ", program.name, "\n", origin("zsh", program.name), function, R"(() {
  local at= i
  local -a lact_words lact_specs
  for ((i = 2; i < CURRENT; i++)); do
    case $at:$words[i] in
)");
  text += concat("      (:", join(names_with_value(program), "|:"), ") ((i++)) ;;\n",
                 "      (:-*) ;;\n", walk(program, "("), "      (*) break ;;\n    esac\n  done\n");
  text += R"(  ((i > CURRENT)) && i=$((i - 2))  # a value is being typed
  words=("$words[1]" "${(@)words[i,-1]}")
  ((CURRENT -= i - 2))
  case $at in
)";
  each_word(program, "",
            [&](const std::string& path, const WordHint& word) { text += zsh_word(path, word); });
  return text + concat("  esac\n  _arguments -s -S : $lact_specs\n}\n",
                       "if [[ $funcstack[1] == ", function, " ]]; then ", function,
                       " \"$@\"; else compdef ", function, " ", program.name, "; fi\n");
}

// --- fish ----------------------------------------------------------------------------------------

std::string fish_quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') result += '\\';
    result += c;
  }
  return result + "'";
}

std::string fish_value(const ValueHint& value) {
  if (value.label.empty()) return "";
  if (!value.choices.empty()) return " -x -a " + fish_quoted(join(value.choices, " "));
  if (value.files) return " -r -F";
  if (value.folders) return " -x -a '(__fish_complete_directories)'";
  return " -x";
}

std::string fish_option(const std::string& start, const OptionHint& option) {
  std::string text = start;
  for (const auto& name : option.names) {
    const bool is_long = name.rfind("--", 0) == 0;
    text += (is_long ? " -l " : " -s ") + name.substr(is_long ? 2 : 1);
  }
  return text + fish_value(option.value) + " -d " + fish_quoted(brief(option.help)) + "\n";
}

std::string fish_script(const WordHint& program) {
  const auto function = "__" + identifier(program.name) + "_at";
  std::string text = concat(origin("fish", program.name), "function ", function, R"(
    set -l at
    set -l skip
    for word in (commandline -opc)[2..-1]
        if test -n "$skip"
            set skip
            continue
        end
        switch "$at:$word"
)");
  text += "            case";
  for (const auto& name : names_with_value(program)) text += " ':" + name + "'";
  text += "\n                set skip 1\n";
  each_word(program, "", [&](const std::string& path, const WordHint& word) {
    for (const auto& next : word.next)
      text += concat("            case ", fish_quoted(path + ":" + next.name),
                     "\n                set at ",
                     fish_quoted(path.empty() ? next.name : path + " " + next.name), "\n");
  });
  text += concat("        end\n    end\n    test \"$at\" = \"$argv\"\nend\ncomplete -c ",
                 program.name, " -f\n");
  each_word(program, "", [&](const std::string& path, const WordHint& word) {
    const auto start = concat("complete -c ", program.name, " -n ",
                              fish_quoted(path.empty() ? function : function + " " + path));
    for (const auto& next : word.next)
      text +=
          concat(start, " -a ", fish_quoted(next.name), " -d ", fish_quoted(next.summary), "\n");
    for (const auto& option : word.options) text += fish_option(start, option);
    if (word.positional.files) text += start + " -F\n";
    if (word.positional.folders) text += start + " -a '(__fish_complete_directories)'\n";
  });
  return text;
}

}  // namespace

std::vector<OptionHint> option_hints(CLI::App& app) {
  std::vector<OptionHint> hints;
  for (const auto* option : named_options(app)) {
    OptionHint hint;
    for (const auto& name : option->get_snames()) hint.names.push_back("-" + name);
    for (const auto& name : option->get_lnames()) hint.names.push_back("--" + name);
    hint.help = option->get_description();
    if (option->get_items_expected_max() > 0) hint.value = value_hint(*option, value_name(*option));
    hint.repeatable = option->get_items_expected_max() > 1;
    hints.push_back(std::move(hint));
  }
  return hints;
}

ValueHint positional_hint(CLI::App& app) {
  for (const auto* option :
       app.get_options([](const CLI::Option* each) { return each->get_positional(); }))
    return value_hint(*option, option->get_name(/*positional=*/true));
  return {};
}

std::string completion_shell(const std::vector<std::string>& words) {
  const std::string name = "--completion";
  for (size_t i = 0; i < words.size() && words[i] != "--"; ++i) {
    const bool joined = words[i].rfind(name + "=", 0) == 0;
    if (!joined && words[i] != name) continue;
    const auto shell = joined                 ? words[i].substr(name.size() + 1)
                       : i + 1 < words.size() ? words[i + 1]
                                              : std::string();
    if (shell == "bash" || shell == "zsh" || shell == "fish") return shell;
    throw Error(Exit::usage, name, ": expected bash, zsh or fish, found '", shell, "'");
  }
  return "";
}

std::string completion_script(const std::string& shell, const WordHint& program) {
  if (shell == "bash") return bash_script(program);
  return shell == "zsh" ? zsh_script(program) : fish_script(program);
}

}  // namespace lact::cli
