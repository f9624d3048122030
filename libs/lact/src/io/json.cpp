#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/json.hpp>
#include <lact/io/known_form.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <unordered_set>
#include <utility>

namespace lact::io {
namespace {

constexpr size_t kMaxDepth = 64;

/// Looks for what the parser would take in silence: duplicate keys and deep nesting.
class Checker : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::string problem;

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return enter(); }
  bool end_object() override { return leave(); }
  bool start_array(size_t) override { return enter(); }
  bool end_array() override { return leave(); }
  bool key(string_t& text) override {
    if (keys_.back().insert(text).second) return true;
    problem = concat("key ", printable(text), " comes twice");
    return false;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    problem = json_problem(error.what());
    return false;
  }

 private:
  bool enter() {
    keys_.emplace_back();
    if (keys_.size() <= kMaxDepth) return true;
    problem = concat("nested deeper than ", kMaxDepth, " levels");
    return false;
  }
  bool leave() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::unordered_set<std::string>> keys_;
};

}  // namespace

std::string json_problem(std::string_view what) {
  const auto end = what.find("] ");  // of "[json.exception.parse_error.101] "
  if (end != what.npos) what.remove_prefix(end + 2);
  return concat("not JSON: ", printable(what));
}

nlohmann::json parse_json(std::string_view text, const std::string& what) {
  refuse_other_form(what, text.substr(0, kFormBytes), "JSON");
  // The parser takes a NUL for the end of the text, and hides what follows it.
  if (text.find('\0') != text.npos)
    throw Error(Exit::data, what, ": not JSON: a NUL character at byte ", text.find('\0'));
  Checker checker;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &checker))
    throw Error(Exit::data, what, ": ", checker.problem);
  return nlohmann::json::parse(text.begin(), text.end());
}

// --- objects -------------------------------------------------------------------------------------

namespace {

/// "on, off, detached" for the end of "expected one of".
std::string listed(const std::vector<std::string>& words) {
  std::string list;
  for (const auto& one : words) list += (list.empty() ? "" : ", ") + one;
  return words.size() > 1 ? "one of " + list : list;
}

}  // namespace

JsonObject::JsonObject(const nlohmann::json& object, std::string what)
    : object_(object), what_(std::move(what)) {
  if (!object.is_object()) throw Error(Exit::data, what_, ": expected a JSON object");
}

bool JsonObject::has(const std::string& key) const {
  return object_.contains(key);
}

const nlohmann::json* JsonObject::find(const std::string& key) {
  known_.insert(key);
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void JsonObject::read(const std::string& key, bool& into) {
  const auto* value = find(key);
  if (value == nullptr) return;
  if (!value->is_boolean()) refuse(key, "true or false");
  into = value->get<bool>();
}

void JsonObject::read(const std::string& key, double& into) {
  const auto* value = find(key);
  if (value == nullptr) return;
  if (value->is_string()) {  // YAML 1.1 reads 1e-06 as a word
    const auto text = value->get<std::string>();
    char* end = nullptr;
    into = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !std::isfinite(into)) refuse(key, "a number");
  } else {
    if (!value->is_number()) refuse(key, "a number");
    into = value->get<double>();
  }
}

void JsonObject::read(const std::string& key, int64_t& into) {
  auto wide = static_cast<double>(into);
  read(key, wide);
  if (wide != std::floor(wide) || std::abs(wide) > 1e15) refuse(key, "a whole number");
  into = static_cast<int64_t>(wide);
}

void JsonObject::read(const std::string& key, std::string& into,
                      const std::vector<std::string>& words) {
  const auto* value = find(key);
  if (value == nullptr) return;
  if (!value->is_string()) refuse(key, words.empty() ? "a string" : listed(words));
  const auto text = value->get<std::string>();
  if (!words.empty() && std::find(words.begin(), words.end(), text) == words.end())
    refuse(key, listed(words));
  into = text;
}

int64_t JsonObject::whole(const std::string& key, int64_t low, int64_t high) {
  const auto* value = find(key);
  const bool fits = value != nullptr && value->is_number_integer() &&
                    (!value->is_number_unsigned() || value->get<uint64_t>() <= INT64_MAX) &&
                    value->get<int64_t>() >= low && value->get<int64_t>() <= high;
  if (!fits) refuse(key, concat("a whole number from ", low, " to ", high));
  return value->get<int64_t>();
}

uint64_t JsonObject::unsigned_whole(const std::string& key) {
  const auto* value = find(key);
  if (value == nullptr || !value->is_number_unsigned())
    refuse(key, "a whole number from 0 to 2^64 - 1");
  return value->get<uint64_t>();
}

double JsonObject::number(const std::string& key, double low, double high) {
  const auto* value = find(key);
  const bool fits = value != nullptr && value->is_number() && value->get<double>() >= low &&
                    value->get<double>() <= high;
  if (!fits) refuse(key, concat("a number from ", low, " to ", high));
  return value->get<double>();
}

std::string JsonObject::word(const std::string& key, const std::vector<std::string>& words) {
  if (find(key) == nullptr) refuse(key, words.empty() ? "a string" : listed(words));
  std::string text;
  read(key, text, words);
  return text;
}

void JsonObject::ignore(std::initializer_list<const char*> keys) {
  known_.insert(keys.begin(), keys.end());
}

void JsonObject::refuse(const std::string& key, const std::string& expected) const {
  const auto found = object_.find(key);
  const auto text = found == object_.end() ? "nothing" : found->dump(-1, ' ', true).substr(0, 80);
  throw Error(Exit::data, what_, ": ", printable(key), ": expected ", expected, ", found ", text);
}

void JsonObject::all_known() const {
  for (const auto& [key, value] : object_.items())
    if (known_.count(key) == 0 && key.rfind('_', 0) != 0)
      throw Error(Exit::data, what_, ": ", printable(key), ": not known");
}

}  // namespace lact::io
