#include <lact/io/files.hpp>
#include <lact/log.hpp>

#include "commands.hpp"
#include "svg.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

namespace lact::bench {
namespace {

using nlohmann::json;

/// One measurement: flat keys, numbers and words.
using Row = std::map<std::string, json>;

struct Input {
  std::string file, name;
  std::vector<Row> rows;
};

// --- reading -------------------------------------------------------------------------------------

void flatten(const json& value, const std::string& key, Row& row) {
  if (!value.is_object()) {
    row[key] = value;
    return;
  }
  for (const auto& [inner, item] : value.items())
    flatten(item, key.empty() ? inner : key + "/" + inner, row);
}

Row row_of(const json& value, const std::string& where) {
  if (!value.is_object()) throw Error(Exit::data, where, ": expected a JSON object");
  Row row;
  flatten(value, "", row);
  return row;
}

/// An array of objects, or one object a line (a last line that is still being written is left out).
std::vector<Row> read_rows(const std::string& text, const std::string& file) {
  std::vector<Row> rows;
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && text[first] == '[') {
    const auto all = json::parse(text, nullptr, false);
    if (!all.is_array()) throw Error(Exit::data, file, ": not a JSON array");
    for (const auto& one : all) rows.push_back(row_of(one, file));
    return rows;
  }
  if (const auto whole = json::parse(text, nullptr, false); whole.is_object())
    return {row_of(whole, file)};
  size_t number = 0;
  for (size_t begin = 0, end; begin < text.size(); begin = end + 1) {
    end = std::min(text.find('\n', begin), text.size());
    const auto line = text.substr(begin, end - begin);
    const auto where = concat(file, ":", ++number);
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto value = json::parse(line, nullptr, false);
    if (value.is_discarded() && end == text.size()) {
      log::warning(where, ": the last line is incomplete, left out");
      break;
    }
    if (value.is_discarded()) throw Error(Exit::data, where, ": not a line of JSON");
    rows.push_back(row_of(value, where));
  }
  return rows;
}

/// A run directory means its metrics.jsonl, and gives the curve its name.
Input read_input(const std::string& name) {
  std::filesystem::path file = name;
  if (std::filesystem::is_directory(file)) file /= "metrics.jsonl";
  auto parent = file.parent_path();
  if (parent.filename().empty()) parent = parent.parent_path();
  const bool of_run = file.filename() == "metrics.jsonl" && !parent.filename().empty();
  const auto shown = of_run ? parent.filename() : file.stem();
  return {file.string(), name == "-" ? "stdin" : shown.string(),
          read_rows(io::read_text(file), file.string())};
}

// --- choosing ------------------------------------------------------------------------------------

const json* number_at(const Row& row, const std::string& key) {
  const auto found = row.find(key);
  return found != row.end() && found->second.is_number() ? &found->second : nullptr;
}

std::string text_at(const Row& row, const std::string& key) {
  const auto found = row.find(key);
  if (found == row.end()) return "";
  return found->second.is_string() ? found->second.get<std::string>() : found->second.dump();
}

bool has_key(const std::vector<Input>& inputs, const std::string& key) {
  for (const auto& input : inputs)
    for (const auto& row : input.rows)
      if (number_at(row, key) != nullptr) return true;
  return false;
}

std::string keys_of(const Input& input) {
  std::set<std::string> keys;
  for (const auto& row : input.rows)
    for (const auto& [key, value] : row)
      if (value.is_number()) keys.insert(key);
  std::string text;
  for (const auto& key : keys) text += (text.empty() ? "" : ", ") + key;
  return text.empty() ? "none" : text;
}

/// What to draw if the user does not say: the loss over a run, utilisation over an axis of the
/// operator, or speed over context depth.
struct Choice {
  std::string x;
  std::vector<std::string> y;
  std::vector<std::string> by;
  bool log_x = false;
};

/// What lact-bench op takes lists of; the first that moves most is the horizontal axis.
const std::vector<std::string> kOpAxes = {"chunk", "state", "length", "heads", "width"};

std::set<double> values_of(const std::vector<Input>& inputs, const std::string& key) {
  std::set<double> values;
  for (const auto& input : inputs)
    for (const auto& row : input.rows)
      if (const auto* value = number_at(row, key)) values.insert(value->get<double>());
  return values;
}

/// The key has several values where x is the same: it tells curves apart.
bool splits(const std::vector<Input>& inputs, const std::string& x, const std::string& key) {
  for (const auto& input : inputs) {
    std::map<std::string, std::set<std::string>> seen;
    for (const auto& row : input.rows)
      if (number_at(row, x) != nullptr) seen[text_at(row, x)].insert(text_at(row, key));
    for (const auto& [at, values] : seen)
      if (values.size() > 1) return true;
  }
  return false;
}

Choice op_choice(const std::vector<Input>& inputs) {
  Choice choice{"chunk", {"utilisation_percent"}, {}};
  for (const auto& axis : kOpAxes)
    if (values_of(inputs, axis).size() > values_of(inputs, choice.x).size()) choice.x = axis;
  for (const std::string key :
       {"device", "dtype", "rule", "function", "learn", "schedule", "pass", "mode"})
    if (splits(inputs, choice.x, key)) choice.by.push_back(key);
  for (const auto& axis : kOpAxes)
    if (axis != choice.x && splits(inputs, choice.x, axis)) choice.by.push_back(axis);
  const auto values = values_of(inputs, choice.x);
  constexpr double kWide = 16;
  choice.log_x = *values.begin() > 0 && *values.rbegin() >= kWide * *values.begin();
  return choice;
}

/// Loss by position, as lact-bench quality and sweep print it.
Choice position_choice(const std::vector<Input>& inputs) {
  Choice choice{"from", {"loss"}, {}, /*log_x=*/true};
  for (const std::string key : {"member", "file", "chunk_size"})
    if (splits(inputs, choice.x, key)) choice.by.push_back(key);
  return choice;
}

/// Answers of the recall sweep by the number of facts: the mean over seeds, for each member.
Choice recall_choice() {
  return {"facts", {"accuracy"}, {"member"}, /*log_x=*/true};
}

/// Rows of `quality video`: a chunk is one of a film there, not a number of tokens.
bool of_films(const std::vector<Input>& inputs) {
  return has_key(inputs, "chunk") && has_key(inputs, "velocity_error");
}

Choice usual_choice(const std::vector<Input>& inputs) {
  if (has_key(inputs, "step"))
    return {"step", {"loss_metrics/global_avg_loss", "validation_metrics/loss"}, {}};
  if (has_key(inputs, "facts")) return recall_choice();
  if (has_key(inputs, "from")) return position_choice(inputs);
  if (has_key(inputs, "chunk") && has_key(inputs, "utilisation_percent")) return op_choice(inputs);
  if (of_films(inputs)) return {"chunk", {"psnr"}, {"model"}};
  return {"n_depth", {"avg_ts"}, {"test"}};
}

/// Axis titles: what the common keys measure, in which unit.
std::string axis_title(const std::string& key) {
  static const std::map<std::string, std::string> known{
      {"step", "step"},
      {"loss_metrics/global_avg_loss", "loss"},
      {"loss_metrics/global_max_loss", "largest loss"},
      {"validation_metrics/loss", "loss"},
      {"throughput(tps)", "throughput (tokens/s)"},
      {"tflops", "throughput (TFLOP/s)"},
      {"mfu(%)", "utilisation (%)"},
      {"grad_norm", "gradient norm"},
      {"lr", "learning rate"},
      {"n_depth", "context before (tokens)"},
      {"n_prompt", "prompt (tokens)"},
      {"n_gen", "generated (tokens)"},
      {"avg_ts", "speed (tokens/s)"},
      {"avg_seconds", "time (s)"},
      {"chunk", "chunk (tokens)"},
      {"length", "sequence (tokens)"},
      {"psnr", "PSNR (dB)"},
      {"ssim", "SSIM"},
      {"velocity_error", "squared error of the velocity"},
      {"from", "position (tokens)"},
      {"facts", "facts to be remembered"},
      {"accuracy", "right answers"},
      {"loss", "loss (nats per token)"},
      {"perplexity", "perplexity"},
      {"depth", "depth of the needle"},
      {"gain", "gain of the answer (nats)"},
      {"state", "fast weights (squares of the model's width)"},
      {"utilisation_percent", "of the product rate (%)"},
      {"utilisation_with_newton_schulz_percent", "of the product rate, Newton-Schulz counted (%)"},
      {"extra_bytes", "memory beyond inputs and results (bytes)"},
  };
  const auto found = known.find(key);
  return found != known.end() ? found->second : key;
}

/// What the legend calls a key.
std::string legend_name(const std::string& key) {
  if (key == "loss_metrics/global_avg_loss") return "training loss";
  if (key == "validation_metrics/loss") return "validation loss";
  return key;
}

std::string y_title(const std::vector<std::string>& keys) {
  std::string text;
  for (const auto& key : keys) {
    const auto title = axis_title(key);
    if (text.find(title) == std::string::npos) text += (text.empty() ? "" : ", ") + title;
  }
  return text;
}

/// The row's values of the keys that tell curves apart: "muon, both, heads 4".
std::string group_of(const Row& row, const std::vector<std::string>& by) {
  std::string name;
  for (const auto& key : by) {
    const auto text = text_at(row, key);
    const bool bare = by.size() == 1 || number_at(row, key) == nullptr;
    name += (name.empty() ? "" : ", ") + (bare ? text : key + " " + text);
  }
  return name;
}

/// Adds a row's point. Rows of several seeds, of which `seen` counts those at each place, are a
/// mean.
void add_point(Curve& curve, std::map<std::pair<std::string, double>, int>& seen, double x,
               double y, bool of_seed) {
  const int count = of_seed ? ++seen[{curve.name, x}] : 1;
  if (count == 1) {
    curve.points.emplace_back(x, y);
    return;
  }
  for (auto& [at, mean] : curve.points)
    if (at == x) mean += (y - mean) / count;
}

/// Curves of one key of one file, one for each value of `by`, in order of appearance.
std::vector<Curve> curves_of(const Input& input, const Choice& choice, const std::string& key) {
  std::vector<Curve> curves;
  std::map<std::pair<std::string, double>, int> seen;
  for (const auto& row : input.rows) {
    const auto *x = number_at(row, choice.x), *y = number_at(row, key);
    if (x == nullptr || y == nullptr) continue;
    const auto group = group_of(row, choice.by);
    auto curve = std::find_if(curves.begin(), curves.end(),
                              [&](const Curve& one) { return one.name == group; });
    if (curve == curves.end()) curve = curves.insert(curves.end(), Curve{group, {}});
    add_point(*curve, seen, x->get<double>(), y->get<double>(), row.count("seed") > 0);
  }
  return curves;
}

std::vector<Curve> all_curves(const std::vector<Input>& inputs, const Choice& choice) {
  std::vector<Curve> all;
  for (const auto& input : inputs) {
    bool some = false;
    for (const auto& key : choice.y)
      for (auto& curve : curves_of(input, choice, key)) {
        some = true;
        std::string name = inputs.size() > 1 ? input.name : "";
        for (const auto& part :
             {choice.y.size() > 1 ? legend_name(key) : std::string(), curve.name})
          if (!part.empty()) name += (name.empty() ? "" : ": ") + part;
        curve.name = name.empty() ? legend_name(key) : name;
        all.push_back(std::move(curve));
      }
    if (!some)
      throw Error(Exit::data, input.file, ": no row has numbers for '", choice.x, "' and '",
                  choice.y.front(), "'; keys with numbers: ", keys_of(input));
  }
  return all;
}

// --- the command ---------------------------------------------------------------------------------

class Plot final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options.footer(
        "FILE is a run directory, its metrics.jsonl, or what lact-bench prints with -o json or\n"
        "jsonl; - is stdin. Several files are drawn over each other. Without --x and --y: "
        "training\n"
        "and validation loss by step; for lact-bench op utilisation by what was varied most, for\n"
        "quality and sweep loss by position, for other benchmarks speed by depth of context.");
    options.add("FILE", files_, "measurements to draw").required();
    options.add("--out", output_, "SVG file to write; -: stdout").value("FILE");
    options.add("--x", x_, "key of the horizontal axis").value("KEY");
    options.add("--y", y_, "key of a curve").value("KEY");
    options.add("--by", by_, "draw one curve for each value of this key").value("KEY");
    options.add("--title", title_, "title of the picture").value("TEXT");
    options.add("--x-label", chart_.x_label, "label of the horizontal axis, with its unit")
        .value("TEXT");
    options.add("--y-label", chart_.y_label, "label of the vertical axis, with its unit")
        .value("TEXT");
    options.flag("--log-x", chart_.log_x, "make the horizontal axis logarithmic");
    options.flag("--log-y", chart_.log_y, "make the vertical axis logarithmic");
    options.add("--y-min", chart_.y_min, "lower end of the vertical axis");
    options.add("--y-max", chart_.y_max, "upper end of the vertical axis");
    options.renamed("-o", "--out");
    options.renamed("--output", "--out");
  }

  void run(cli::Context&) override {
    std::vector<Input> inputs;
    for (const auto& file : files_) inputs.push_back(read_input(file));
    auto choice = usual_choice(inputs);
    if (x_.empty() && choice.log_x) chart_.log_x = true;
    if (!x_.empty()) choice.x = x_;
    if (!y_.empty()) choice.y = y_;
    if (!by_.empty()) choice.by = by_;
    chart_.curves = all_curves(inputs, choice);
    if (chart_.x_label.empty())
      chart_.x_label =
          choice.x == "chunk" && of_films(inputs) ? "chunk of the film" : axis_title(choice.x);
    if (chart_.y_label.empty()) chart_.y_label = y_title(choice.y);
    chart_.title = title_.empty() ? usual_title(inputs) : title_;
    const auto svg = to_svg(chart_);
    if (output_ == "-")
      cli::out(svg);
    else
      io::write_text(output_, svg);
  }

 private:
  static std::string usual_title(const std::vector<Input>& inputs) {
    std::string title;
    for (const auto& input : inputs) title += (title.empty() ? "" : ", ") + input.name;
    return title;
  }

  std::vector<std::string> files_, y_, by_;
  std::string output_ = "-", x_, title_;
  Chart chart_;
};

}  // namespace

std::unique_ptr<plugin::Command> plot_command() {
  return std::make_unique<Plot>();
}

}  // namespace lact::bench
