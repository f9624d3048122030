#include <lact/plugin/tool_main.hpp>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

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

/// The modalities on the search path that have something for this tool.
std::vector<Verb> modalities(const std::filesystem::path& folder,
                             const std::function<bool(Modality&)>& serves) {
  std::vector<Verb> rows;
  for (const auto& found : list(folder)) {
    if (!found.refusal.empty()) continue;
    try {
      if (serves(*load(found.name, folder))) rows.push_back({found.name, found.summary});
    } catch (const Error&) {  // merely found: passed over
    }
  }
  return rows;
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

bool unnamed(const std::vector<Verb>& verbs) {
  return verbs.size() == 1 && verbs[0].name.empty();
}

/// Takes the verb's word, unless the tool has a single unnamed verb.
Verb choose_verb(cli::Args& args, const std::string& program, const std::string& summary,
                 const std::vector<Verb>& verbs) {
  if (unnamed(verbs)) return verbs[0];
  const auto word = take_word(args);
  if (word.empty())
    explain(args, program, program + " VERB [OPTIONS]",
            concat(summary, "\n\nUsage: ", program, " VERB [OPTIONS]\n", table("Verbs", verbs),
                   options_text()));
  std::string names;
  for (const auto& verb : verbs) {
    if (verb.name == word) return verb;
    names += (names.empty() ? "" : ", ") + verb.name;
  }
  throw Error(Exit::usage, "unknown verb '", word, "'; ", program, " has ", names);
}

void run_modality(Tool tool, const ToolInfo& info, cli::Args& args,
                  const std::vector<OwnVerb>& own) {
  const auto serves = [tool](Modality& modality) { return !modality.verbs(tool).empty(); };
  const std::string name = args.words.empty() ? "" : args.words[0];
  const auto modality = choose_modality(args, info, serves, own);
  const auto verbs = modality->verbs(tool);
  if (verbs.empty()) throw Error(Exit::unavailable, "'", name, "' has nothing for ", info.program);
  const auto program = concat(info.program, " ", name);
  const auto verb = choose_verb(args, program, info.summary, verbs);
  const auto command = modality->command(tool, verb.name);
  if (command == nullptr) throw Error(Exit::internal, name, ": no command for verb ", verb.name);
  run_command(*command, verb.name.empty() ? program : program + " " + verb.name, verb.summary,
              args);
}

/// "plugin files" -> "Plugin files."
std::string sentence(std::string text) {
  if (text.empty()) return text;
  text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  if (text.back() != '.') text += '.';
  return text;
}

}  // namespace

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

std::string take_word(cli::Args& args) {
  if (args.words.empty()) return "";
  const auto word = args.words.front();
  args.words.erase(args.words.begin());
  return word;
}

std::unique_ptr<Modality> choose_modality(cli::Args& args, const ToolInfo& tool,
                                          const std::function<bool(Modality&)>& serves,
                                          const std::vector<OwnVerb>& own) {
  const auto name = take_word(args);
  const auto folder = plugin_dir(args);
  if (!name.empty()) return load(name, folder);
  const std::string use =
      concat(tool.program, own.empty() ? " MODALITY" : " MODALITY|VERB", " [VERB] [OPTIONS]");
  std::string page = concat(tool.summary, "\n\nUsage: ", use, "\n");
  if (asks_for_help(args)) {
    const auto found = modalities(folder, serves);
    page += found.empty() ? "\nNo modality was found; see lact-bench plugins.\n"
                          : table("Modalities", found);
    std::vector<Verb> verbs;
    for (const auto& one : own) verbs.push_back(one.verb);
    if (!verbs.empty()) page += table("Verbs of its own", verbs);
    page += options_text();
  }
  explain(args, tool.program, use, page);
}

void run_command(Command& command, const std::string& program, const std::string& summary,
                 cli::Args& args) {
  // Words that nobody took are positionals of the command.
  args.rest.insert(args.rest.begin(), args.words.begin(), args.words.end());
  args.words.clear();
  CLI::App app(sentence(summary));
  cli::Context context;
  context.program = program;
  command.declare(app);
  cli::common_options(app, context);
  cli::parse(app, args, context);
  command.run(context);
}

int tool_main(Tool tool, const char* program, const char* summary, int argc, char** argv,
              const std::vector<OwnVerb>& own) {
  return cli::run(program, argc, argv, [&](cli::Args& args) {
    const ToolInfo info{program, summary};
    const auto word = args.words.empty() ? "" : args.words[0];
    for (const auto& one : own) {
      if (one.verb.name != word) continue;
      take_word(args);
      return run_command(*one.make(), concat(program, " ", word), one.verb.summary, args);
    }
    run_modality(tool, info, args, own);
  });
}

}  // namespace lact::plugin
