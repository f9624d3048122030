#include <lact/cli/options.hpp>

#include "internal.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

namespace lact::cli {

Option::Option(CLI::Option* option, const std::shared_ptr<State>& state)
    : option_(option), state_(state) {}

Option& Option::value(const std::string& name) {
  option_->type_name(name);
  return *this;
}

Option& Option::range(double low, double high) {
  option_->check(CLI::Range(low, high));
  return *this;
}
Option& Option::range(int64_t low, int64_t high) {
  option_->check(CLI::Range(low, high));
  return *this;
}
Option& Option::at_least(int64_t low) {
  option_->check(CLI::Range(low, std::numeric_limits<int64_t>::max(), concat(">= ", low)));
  return *this;
}
Option& Option::at_least(double low) {
  option_->check(CLI::Range(low, std::numeric_limits<double>::max(), concat(">= ", low)));
  return *this;
}
Option& Option::positive() {
  option_->check(
      CLI::Range(std::numeric_limits<double>::min(), std::numeric_limits<double>::max(), "> 0"));
  return *this;
}

Option& Option::words(const std::vector<std::string>& words) {
  option_->check(CLI::IsMember(words));
  return *this;
}

Option& Option::required() {
  option_->required();
  return *this;
}

Option& Option::separated() {
  option_->delimiter(',');
  return *this;
}

Option& Option::initially(const std::string& text) {
  option_->default_str(text);
  state_->told.insert(option_);
  return *this;
}

Option& Option::renamed(const std::string& before, const std::string& now) {
  state_->renamed.push_back({option_->get_single_name(), "", before, now});
  // What comes from a file has been translated by then.
  option_->transform(
      [before, now](const std::string& text) {
        if (text == before) throw CLI::ValidationError(concat(before, " is called ", now, " now"));
        return text;
      },
      "", "");
  return *this;
}

Options::Options(CLI::App* app, std::shared_ptr<Option::State> state, std::string group)
    : app_(app), state_(std::move(state)), group_(std::move(group)) {}

namespace {

/// CLI::Range compares, which nan passes.
std::string finite(const std::string& text) {
  double value = 0;
  const bool is_number = CLI::detail::lexical_cast(text, value);
  return is_number && !std::isfinite(value) ? concat("expected a finite number, found ", text) : "";
}

}  // namespace

template <class Variable>
Option Options::declare(const std::string& names, Variable& variable, const std::string& help) {
  auto* option = app_->add_option(names, variable, help);
  constexpr bool real =
      std::is_same_v<Variable, double> || std::is_same_v<Variable, std::optional<double>>;
  if (real) option->check(CLI::Validator(finite, ""));
  if (!group_.empty()) option->group(group_);
  return {option, state_};
}

Option Options::add(const std::string& names, std::string& variable, const std::string& help) {
  return declare(names, variable, help);
}
Option Options::add(const std::string& names, int& variable, const std::string& help) {
  return declare(names, variable, help);
}
Option Options::add(const std::string& names, int64_t& variable, const std::string& help) {
  return declare(names, variable, help);
}
Option Options::add(const std::string& names, double& variable, const std::string& help) {
  return declare(names, variable, help);
}
Option Options::add(const std::string& names, bool& variable, const std::string& help) {
  auto option = declare(names, variable, help);
  option.option_->default_str(variable ? "true" : "false");
  return option.value("true|false");
}
Option Options::add(const std::string& names, std::optional<std::string>& variable,
                    const std::string& help) {
  return declare(names, variable, help);
}
Option Options::add(const std::string& names, std::optional<int64_t>& variable,
                    const std::string& help) {
  return declare(names, variable, help);
}
Option Options::add(const std::string& names, std::optional<double>& variable,
                    const std::string& help) {
  return declare(names, variable, help);
}
Option Options::add(const std::string& names, std::optional<bool>& variable,
                    const std::string& help) {
  return declare(names, variable, help).value("true|false");
}
Option Options::add(const std::string& names, std::vector<std::string>& variable,
                    const std::string& help) {
  return declare(names, variable, help);
}

Option Options::flag(const std::string& names, bool& variable, const std::string& help) {
  auto* option = app_->add_flag(names, variable, help);
  if (!group_.empty()) option->group(group_);
  return {option, state_};
}
Option Options::flag(const std::string& names, int& variable, const std::string& help) {
  auto* option = app_->add_flag(names, variable, help);
  if (!group_.empty()) option->group(group_);
  return {option, state_};
}

Options Options::group(const std::string& title) const {
  return {app_, state_, title};
}

void Options::footer(const std::string& text) {
  app_->footer(text);
}

namespace {

std::string bare(const std::string& name) {
  return name.substr(name.find_first_not_of('-'));
}

}  // namespace

void Options::renamed(const std::string& before, const std::string& now) {
  state_->renamed.push_back({bare(before), bare(now), "", ""});
}

void Options::renamed(const std::string& before, const std::string& value, const std::string& now,
                      const std::string& value_now) {
  state_->renamed.push_back({bare(before), bare(now), value, value_now});
}

}  // namespace lact::cli
