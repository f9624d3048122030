#include <lact/cli/completion.hpp>
#include <lact/cli/nearest.hpp>
#include <lact/cli/options.hpp>
#include <lact/cli/processes.hpp>
#include <lact/io/files.hpp>
#include <lact/plugin/tool_main.hpp>

#include <algorithm>

namespace lact::plugin {
namespace {

bool asks_for_help(const cli::Args& args) {
  const auto end = std::find(args.rest.begin(), args.rest.end(), "--");
  return std::any_of(args.rest.begin(), end,
                     [](const auto& word) { return word == "--help" || word == "-h"; });
}

/// Two columns, as --help sets options.
std::string table(const std::string& title, const std::vector<Verb>& rows) {
  std::string text = "\n" + title + ":\n";
  for (const auto& row : rows) {
    const size_t pad = std::max<size_t>(2, row.name.size() < 14 ? 16 - row.name.size() : 2);
    text += "  " + row.name + std::string(pad, ' ') + row.summary + "\n";
  }
  return text;
}

bool is_before(const ToolInfo& tool, const std::string& name) {
  return std::any_of(tool.before.begin(), tool.before.end(),
                     [&](const Verb& verb) { return verb.name == name; });
}

/// What a modality has behind its name, or (`before`) the one verb of that name before it.
std::vector<OwnVerb> verbs_of(const ToolInfo& tool, const std::shared_ptr<Modality>& modality,
                              const std::string& before) {
  auto verbs = tool.verbs(modality);
  std::erase_if(verbs, [&](const OwnVerb& one) {
    return before.empty() ? is_before(tool, one.verb.name) : one.verb.name != before;
  });
  return verbs;
}

/// A modality that was found and the verbs it has for a tool.
struct Serving {
  Verb modality;
  std::vector<OwnVerb> verbs;
};

/// The modalities on the search path that have something for this tool, or a verb before them.
std::vector<Serving> modalities(const ToolInfo& tool, const std::filesystem::path& folder,
                                const std::string& before = {}) {
  std::vector<Serving> all;
  for (const auto& found : list(folder)) {
    if (!found.refusal.empty()) continue;
    try {
      auto verbs = verbs_of(tool, load(found.name, folder), before);
      if (!verbs.empty()) all.push_back({{found.name, found.summary}, std::move(verbs)});
    } catch (const std::exception&) {  // merely found: passed over
    }
  }
  return all;
}

std::vector<Verb> without_makers(const std::vector<OwnVerb>& verbs) {
  std::vector<Verb> rows;
  for (const auto& one : verbs) rows.push_back(one.verb);
  return rows;
}

std::vector<std::string> names_of(const std::vector<OwnVerb>& verbs) {
  std::vector<std::string> names;
  for (const auto& one : verbs) names.push_back(one.verb.name);
  return names;
}

/// The page if it was asked for, else its use as an error.
[[noreturn]] void explain(const cli::Args& args, const std::string& program, const std::string& use,
                          const std::string& page) {
  if (!asks_for_help(args))
    throw Error(Exit::usage, "usage: ", use, "; try '", program, " --help'");
  cli::out(page);
  throw cli::Finished();
}

std::string options_text() {
  return "\nOptions come after these words: add --help to see them.\n";
}

bool unnamed(const std::vector<OwnVerb>& verbs) {
  return verbs.size() == 1 && verbs[0].verb.name.empty();
}

/// Takes the first word of the command line, "" if there is none.
std::string take_word(cli::Args& args) {
  if (args.words.empty()) return "";
  const auto word = args.words.front();
  args.words.erase(args.words.begin());
  return word;
}

std::string verb_use(const std::string& program) {
  return program + " VERB [OPTIONS]";
}

std::string modality_page(const std::string& program, const std::string& summary,
                          const std::vector<OwnVerb>& verbs) {
  return concat(summary, "\n\nUsage: ", verb_use(program), "\n",
                table("Verbs", without_makers(verbs)), options_text());
}

/// Takes the verb's word, unless the tool has a single unnamed verb.
OwnVerb choose_verb(cli::Args& args, const std::string& program, const std::string& summary,
                    const std::vector<OwnVerb>& verbs) {
  if (unnamed(verbs)) return verbs[0];
  const auto word = take_word(args);
  if (word.empty())
    explain(args, program, verb_use(program), modality_page(program, summary, verbs));
  std::string names;
  for (const auto& one : verbs) {
    if (one.verb.name == word) return one;
    names += (names.empty() ? "" : ", ") + one.verb.name;
  }
  throw Error(Exit::usage, "unknown verb '", word, "'",
              cli::did_you_mean(word, names_of(verbs), concat("; ", program, " has ", names)));
}

/// The folder of --plugin-dir (last one given), or "". Read before the plugin that declares the
/// rest of the options is there.
std::filesystem::path plugin_dir(const cli::Args& args) {
  std::filesystem::path folder;
  for (size_t i = 0; i < args.rest.size() && args.rest[i] != "--"; ++i) {
    const auto& word = args.rest[i];
    if (word == "--plugin-dir" && i + 1 < args.rest.size())
      folder = args.rest[++i];
    else if (word.rfind("--plugin-dir=", 0) == 0)
      folder = word.substr(13);
  }
  return folder;
}

/// "plugin files" -> "Plugin files."
std::string sentence(std::string text) {
  if (text.empty()) return text;
  text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  if (text.back() != '.') text += '.';
  return text;
}

/// Runs one command: own and common options, parse, run. `program` is the whole prefix,
/// "lact-tokenize text train".
void run_command(Command& command, const std::string& program, const std::string& summary,
                 cli::Args& args) {
  // Words that nobody took are positionals of the command.
  args.rest.insert(args.rest.begin(), args.words.begin(), args.words.end());
  args.words.clear();
  cli::CommandLine line(sentence(summary));
  cli::Context context;
  context.program = program;
  command.declare(line.options());
  line.parse(args, context);
  // Each would do the same, and write the same file.
  if (!line.knows("--comm-init-timeout-seconds")) cli::require_one_process(program);
  command.run(context);
}

std::string command_page(const OwnVerb& one, const std::string& program) {
  cli::CommandLine line(sentence(one.verb.summary));
  const auto command = one.make();
  command->declare(line.options());
  return line.help(program);
}

std::string tool_use(const ToolInfo& tool) {
  return concat(tool.program, tool.own.empty() ? " MODALITY" : " MODALITY|VERB",
                " [VERB] [OPTIONS]");
}

std::string tool_page(const ToolInfo& tool, const std::vector<Serving>& all) {
  std::vector<Verb> found;
  for (const auto& one : all) found.push_back(one.modality);
  std::string page = concat(tool.summary, "\n\nUsage: ", tool_use(tool), "\n");
  page += found.empty() ? "\nNo modality was found; see lact-bench plugins.\n"
                        : table("Modalities", found);
  if (!tool.before.empty()) page += table("Verbs before a modality", tool.before);
  if (!tool.own.empty()) page += table("Verbs of its own", without_makers(tool.own));
  return page + options_text();
}

std::string before_use(const ToolInfo& tool, const Verb& verb) {
  return concat(tool.program, " ", verb.name, " MODALITY [OPTIONS]");
}

/// Of `lact-bench quality`, without a modality.
std::string before_page(const ToolInfo& tool, const Verb& verb, const std::vector<Serving>& all) {
  std::vector<Verb> found;
  for (const auto& one : all) found.push_back({one.modality.name, one.verbs[0].verb.summary});
  return concat(sentence(verb.summary), "\n\nUsage: ", before_use(tool, verb), "\n",
                found.empty() ? "\nNo modality has it; see lact-bench plugins.\n"
                              : table("Modalities", found),
                options_text());
}

// --- completion ----------------------------------------------------------------------------------

/// What --help of one command lists.
cli::WordHint command_hint(const OwnVerb& verb) {
  cli::CommandLine line;
  const auto command = verb.make();
  command->declare(line.options());
  auto hint = line.hint();
  hint.name = verb.verb.name;
  hint.summary = verb.verb.summary;
  return hint;
}

cli::WordHint modality_hint(const Serving& found) {
  cli::WordHint hint;
  if (unnamed(found.verbs)) {
    hint = command_hint(found.verbs[0]);
  } else {
    for (const auto& verb : found.verbs) hint.next.push_back(command_hint(verb));
    hint.options = {{{"-h", "--help"}, "list the verbs", {}, true}};
  }
  hint.name = found.modality.name;
  hint.summary = found.modality.summary;
  return hint;
}

std::string completion(const ToolInfo& tool, const std::string& shell,
                       const std::filesystem::path& folder) {
  auto hint = cli::CommandLine().hint();  // what all commands have
  hint.name = tool.program;
  hint.summary = tool.summary;
  for (const auto& found : modalities(tool, folder)) hint.next.push_back(modality_hint(found));
  for (const auto& verb : tool.before) {
    cli::WordHint word{
        verb.name, verb.summary, {}, {{{"-h", "--help"}, "list the modalities", {}, true}}, {}};
    for (const auto& found : modalities(tool, folder, verb.name)) {
      word.next.push_back(command_hint(found.verbs[0]));
      word.next.back().name = found.modality.name;
    }
    hint.next.push_back(std::move(word));
  }
  for (const auto& verb : tool.own) hint.next.push_back(command_hint(verb));
  return cli::completion_script(shell, hint);
}

// --- pages ---------------------------------------------------------------------------------------

/// Every page of the tool, for its front program (tools/front.cpp), which prints one without
/// loading anything: a line with the names of the plugins, then for each page a line with the words
/// that ask for it, a tab and its size in bytes, and its text. The build asks for it: --write-pages
/// FILE.
std::string pages(const ToolInfo& tool) {
  std::string text = "plugins";
  for (const auto& found : list({})) text += " " + found.name;
  text += "\n";
  const auto add = [&](const std::string& words, const std::string& page) {
    text += concat(words, "\t", page.size(), "\n", page);
  };
  const auto version = cli::version_line(tool.program) + "\n";
  const auto add_command = [&](const std::string& words, const OwnVerb& one) {
    add(words + " --help", command_page(one, concat(tool.program, " ", words)));
    add(words + " --version", version);
  };
  const auto all = modalities(tool, {});
  add("--help", tool_page(tool, all));
  add("--version", version);
  for (const auto& found : all) {
    const auto& name = found.modality.name;
    if (!unnamed(found.verbs))
      add(name + " --help",
          modality_page(concat(tool.program, " ", name), tool.summary, found.verbs));
    for (const auto& verb : found.verbs)
      add_command(verb.verb.name.empty() ? name : name + " " + verb.verb.name, verb);
  }
  for (const auto& verb : tool.before) {
    const auto serving = modalities(tool, {}, verb.name);
    add(verb.name + " --help", before_page(tool, verb, serving));
    for (const auto& found : serving)
      add_command(verb.name + " " + found.modality.name, found.verbs[0]);
  }
  for (const auto& verb : tool.own) add_command(verb.verb.name, verb);
  for (const char* shell : {"bash", "zsh", "fish"})
    add(std::string("--completion ") + shell, completion(tool, shell, {}));
  return text;
}

// --- the main ------------------------------------------------------------------------------------

void run_modality(const ToolInfo& tool, const std::string& name,
                  const std::filesystem::path& folder, cli::Args& args) {
  auto others = names_of(tool.own);
  for (const auto& verb : tool.before) others.push_back(verb.name);
  const auto verbs = verbs_of(tool, load(name, folder, others), "");
  if (verbs.empty()) throw Error(Exit::unavailable, "'", name, "' has nothing for ", tool.program);
  const auto program = concat(tool.program, " ", name);
  const auto verb = choose_verb(args, program, tool.summary, verbs);
  const auto command = verb.make();
  if (command == nullptr)
    throw Error(Exit::internal, name, ": no command for verb ", verb.verb.name);
  if (tool.prepare) tool.prepare(args);
  run_command(*command, verb.verb.name.empty() ? program : program + " " + verb.verb.name,
              verb.verb.summary, args);
}

/// `lact-bench quality text`
void run_before(const ToolInfo& tool, const Verb& verb, const std::filesystem::path& folder,
                cli::Args& args) {
  const auto name = take_word(args);
  if (name.empty())
    explain(args, concat(tool.program, " ", verb.name), before_use(tool, verb),
            before_page(tool, verb,
                        asks_for_help(args) ? modalities(tool, folder, verb.name)
                                            : std::vector<Serving>()));
  const auto verbs = verbs_of(tool, load(name, folder), verb.name);
  if (verbs.empty())
    throw Error(Exit::unavailable, "'", name, "' has no ", verb.name, " for ", tool.program);
  run_command(*verbs[0].make(), concat(tool.program, " ", verb.name, " ", name),
              verbs[0].verb.summary, args);
}

void run_tool(const ToolInfo& tool, cli::Args& args) {
  const auto folder = plugin_dir(args);
  if (const auto shell = cli::completion_shell(args.rest); !shell.empty())
    return cli::out(completion(tool, shell, folder));
  if (args.words.empty() && args.rest.size() == 2 && args.rest[0] == "--write-pages") {
    io::AtomicFile file(args.rest[1]);
    file.write(pages(tool));
    return file.commit();
  }
  const auto name = take_word(args);
  if (name.empty())
    explain(
        args, tool.program, tool_use(tool),
        tool_page(tool, asks_for_help(args) ? modalities(tool, folder) : std::vector<Serving>()));
  for (const auto& one : tool.own)
    if (one.verb.name == name)
      return run_command(*one.make(), concat(tool.program, " ", name), one.verb.summary, args);
  for (const auto& verb : tool.before)
    if (verb.name == name) return run_before(tool, verb, folder, args);
  run_modality(tool, name, folder, args);
}

}  // namespace

int tool_main(const ToolInfo& tool, int argc, char** argv) {
  return cli::run(tool.program, argc, argv, [&](cli::Args& args) { run_tool(tool, args); });
}

int tool_main(Tool tool, const char* program, const char* summary, int argc, char** argv,
              const std::vector<OwnVerb>& own, const std::vector<Verb>& before) {
  const auto verbs = [tool](const std::shared_ptr<Modality>& modality) {
    std::vector<OwnVerb> all;
    for (const auto& verb : modality->verbs(tool))
      all.push_back({verb, [modality, tool, verb] { return modality->command(tool, verb.name); }});
    return all;
  };
  return tool_main(ToolInfo{program, summary, verbs, own, before}, argc, argv);
}

}  // namespace lact::plugin
