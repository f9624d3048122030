// lact-generate text from outside: real processes, exact bytes, exit codes.

#include "models.hpp"
#include "small_model.hpp"
#include "support/launch.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <set>
#include <sstream>
#include <thread>

using namespace lact;
using test::Result;

namespace {

/// One model for all tests of this file.
const test::TemporaryFolder& place() {
  static const test::TemporaryFolder folder;
  static const bool made = (test::write_model(folder / "model"), true);
  (void)made;
  return folder;
}

std::string path(const std::string& name) {
  return (place() / name).string();
}

std::vector<std::string> command(const std::vector<std::string>& more) {
  std::vector<std::string> all = {"lact-generate", "text",
                                  "--model",       path("model"),
                                  "--dtype",       "float32",
                                  "--threads",     "1",
                                  "--plugin-dir",  (test::build_root() / "plugins/text").string()};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

Result generate(const std::vector<std::string>& more, const std::string& input = {}) {
  return test::run(command(more), input);
}

/// What it wrote; anything but success, or a word on stderr, fails the test.
std::string text_of(const std::vector<std::string>& more, const std::string& input = {}) {
  const auto result = generate(more, input);
  CHECK(result.err == "");
  REQUIRE(result.exit == 0);
  return result.out;
}

void check_fails(const std::vector<std::string>& more, int exit, const std::string& says) {
  CAPTURE(more);
  const auto result = generate(more, "a prompt");
  CHECK(result.exit == exit);
  CHECK(result.out == "");
  CHECK_THAT(result.err, Catch::Contains(says));
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
}

/// As a JSON document can hold it: what is no UTF-8 replaced.
std::string in_json(const std::string& text) {
  const auto written =
      nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return nlohmann::json::parse(written).get<std::string>();
}

std::string read(const std::string& name) {
  return io::read_text(place() / name);
}

}  // namespace

TEST_CASE("40 tokens and 60 after a state are the 100 tokens of one run") {
  const std::string temp = GENERATE("0", "1");
  const std::vector<std::string> common = {
      "--temp", temp, "--repeat-penalty", "1.2", "--ignore-eos", "-l", "17-1"};
  const auto run = [&](std::vector<std::string> more) {
    more.insert(more.end(), common.begin(), common.end());
    return text_of(more);
  };
  const std::string prompt = "karo the an ingmo";
  const auto whole = run({"-p", prompt, "-s", "3", "-n", "100", "--save-state", path("whole")});
  const auto first = run({"-p", prompt, "-s", "3", "-n", "40", "--save-state", path("part")});
  const auto rest = run({"--state", path("part"), "-n", "60", "--save-state", path("both")});
  CHECK(first + rest == whole);
  CHECK(!first.empty());
  CHECK(rest.size() > 60);
  CHECK(read("both") == read("whole"));
  CHECK(read("part") != read("whole"));
}

TEST_CASE("one state is asked many times and stays as it is") {
  text_of({"-n", "0", "--save-state", path("book")}, test::invented_text(4, 3000));
  const auto before = read("book");
  const auto ask = [&](const char* prompt, const char* seed) {
    return text_of({"--state", path("book"), "-p", prompt, "-n", "30", "-s", seed, "--ignore-eos"});
  };
  const auto one = ask("In the end, ", "1");
  CHECK(ask("In the end, ", "1") == one);
  CHECK(ask("In the end, ", "2") != one);
  CHECK(ask("Who", "1") != one);
  CHECK(read("book") == before);
}

TEST_CASE("a prompt is the same by option, file and pipe, and in blocks of any size") {
  const auto text = test::invented_text(5, 5000);
  io::write_text(place() / "text.txt", text);
  const std::vector<std::string> end = {"-n", "20", "--temp", "0", "--ignore-eos"};
  const auto run = [&](std::vector<std::string> more, const std::string& input = {}) {
    more.insert(more.end(), end.begin(), end.end());
    return text_of(more, input);
  };
  const auto want = run({"-p", text});
  CHECK(run({"-f", path("text.txt")}) == want);
  CHECK(run({}, text) == want);
  CHECK(run({"--prompt-file", "-"}, text) == want);
  // Groups of other sizes are other sums: the same to rounding, which greedy choices survive here.
  CHECK(run({"-f", path("text.txt"), "-b", "100"}) == want);
  CHECK(run({"-f", path("text.txt"), "--echo"}) == text + want);
  CHECK(run({"-f", path("text.txt"), "--no-bos"}) != want);
}

TEST_CASE("with --escape a prompt's backslashes mean what they do in C, without it themselves") {
  const std::vector<std::string> end = {"--echo", "-n", "0"};
  const auto echo = [&](std::vector<std::string> more) {
    more.insert(more.end(), end.begin(), end.end());
    return text_of(more);
  };
  const char* prompt = R"(karo\n\tlu \"x\' \\n \q \)";
  CHECK(echo({"-p", prompt, "-e"}) == "karo\n\tlu \"x' \\n \\q \\");
  CHECK(echo({"-p", prompt}) == prompt);
}

TEST_CASE("a line of a batch that does not end is refused before it fills the memory") {
  for (const char* what : {"--batch", "--score"}) {
    std::vector<std::string> words = {what, "-", "-n", "1"};
    if (what == std::string("--score")) words = {what, "-", "--pairs"};
    const auto result = generate(words, std::string(size_t{34} << 20, 'a'));
    CAPTURE(what);
    CHECK(result.exit == 65);
    CHECK_THAT(result.err, Catch::Contains("stdin:1: a line of more than 32 MiB"));
  }
}

TEST_CASE("the end of the text ends the run without a byte, unless it is ignored") {
  const auto eos = std::to_string(*test::load(place() / "model").tokenizer.eos());
  const std::vector<std::string> wanted = {"-p", "the", "-l", eos + "+99", "-s", "1", "-n", "30"};
  CHECK(text_of(wanted) == "");
  auto ignored = wanted;
  ignored.push_back("--ignore-eos");
  CHECK(text_of(ignored).size() >= 10);
}

TEST_CASE("every id that config.json or generation_config.json calls an end ends the text") {
  // What a greedy model says third becomes an end.
  const auto whole = text_of({"-p", "ba ke", "-n", "6", "--temp", "0", "--ignore-eos"});
  const auto loaded = test::load(place() / "model");
  text::Session session(loaded, {.temp = 0}, 1);
  std::vector<int32_t> ids = {*loaded.bos()}, said;
  const auto prompt = loaded.tokenizer.encode("ba ke");
  ids.insert(ids.end(), prompt.begin(), prompt.end());
  session.read(ids);
  while (said.size() < 3) {
    said.push_back(session.choose());
    session.read({said.back()});
  }
  const auto changed = place() / "ends";
  for (const char* name : {"config.json", "generation_config.json"}) {
    CAPTURE(name);
    std::filesystem::remove_all(changed);
    std::filesystem::copy(place() / "model", changed);
    std::filesystem::remove(changed / "manifest.json");
    nlohmann::json values = nlohmann::json::object();
    if (std::filesystem::exists(changed / name))
      values = nlohmann::json::parse(io::read_text(changed / name));
    values["eos_token_id"] = {*loaded.tokenizer.eos(), said[2]};
    io::write_text(changed / name, values.dump());
    const auto result =
        test::run({"lact-generate", "text", "--model", changed.string(), "--dtype", "float32",
                   "--threads", "1", "-p", "ba ke", "-n", "6", "--temp", "0", "--json"});
    CAPTURE(result.err);
    const auto json = nlohmann::json::parse(result.out);
    const auto first = std::find(said.begin(), said.end(), said[2]) - said.begin();
    CHECK(json.at("tokens") == first);
    CHECK(json.at("finish_reason") == "stop");
  }
}

TEST_CASE("a seed repeats a run, none is 42, -1 is another each time") {
  const auto run = [&](std::vector<std::string> more) {
    more.insert(more.end(), {"-p", "karo", "-n", "40", "--temp", "2", "--ignore-eos"});
    return text_of(more);
  };
  CHECK(run({"--seed", "5"}) == run({"-s", "5"}));
  CHECK(run({"-s", "-1"}) != run({"-s", "-1"}));
  CHECK(run({}) == run({"-s", "42"}));
}

TEST_CASE("every prompt of a batch is continued as it is alone, however many at a time") {
  const std::vector<std::string> prompts{"karo the an", "ingmo", "the ro ka lo mi", "a",
                                         "and then, karo"};
  const std::string temp = GENERATE("0", "1");
  const std::vector<std::string> end = {"-n", "25", "--temp", temp, "-s", "4", "--ignore-eos"};
  const auto with_end = [&](std::vector<std::string> more) {
    more.insert(more.end(), end.begin(), end.end());
    return text_of(more);
  };
  std::string lines = "\n";
  for (const auto& prompt : prompts) lines += prompt + "\r\n\n";  // empty lines are none
  io::write_text(place() / "prompts.txt", lines);
  text_of({"-n", "0", "--save-state", path("book")}, test::invented_text(4, 900));
  const bool continued = GENERATE(false, true);
  std::vector<std::string> from;
  if (continued) from = {"--state", path("book")};
  std::vector<std::string> want;
  for (const auto& prompt : prompts) {
    auto words = from;
    words.insert(words.end(), {"-p", prompt});
    want.push_back(in_json(with_end(words)));
  }
  CHECK(want[0] != want[1]);
  // Products of several rows round otherwise than of one: drawn at temperature 1, a token on the
  // edge may fall to the other side, and the rest of its text is another.
  int others = 0;
  for (const std::string parallel : {"1", "3", "8"}) {
    CAPTURE(parallel, temp, continued);
    auto words = from;
    words.insert(words.end(), {"--batch", path("prompts.txt"), "--parallel", parallel});
    std::istringstream out(with_end(words));
    size_t i = 0;
    for (std::string line; std::getline(out, line); ++i) {
      const auto one = nlohmann::json::parse(line);
      CHECK(one.at("index") == i);
      if (temp == "0")
        CHECK(one.at("text") == want.at(i));
      else
        others += one.at("text") != want.at(i);
      CHECK(one.at("tokens") == 25);
      CHECK(one.at("finish_reason") == "length");
    }
    CHECK(i == prompts.size());
  }
  CHECK(others <= 1);
}

TEST_CASE("a batch of JSON has names and seeds, and a line that is none fails alone") {
  const std::string file =
      R"({"prompt": "karo", "seed": 1, "id": "one"}
{"prompt": "karo", "seed": 2, "id": [2]}
{"promt": "karo", "id": 3}
{"prompt": "karo"
{"prompt": "karo", "seed": -1}
{"prompt": "karo", "seed": 1}
)";
  const auto result = generate({"--batch", "-", "-n", "30", "--ignore-eos", "--echo"}, file);
  CHECK(result.exit == 65);
  CHECK_THAT(result.err, Catch::Contains("stdin:3: expected a string \"prompt\"") &&
                             Catch::Contains("stdin:4:") && Catch::Contains("stdin:5:") &&
                             Catch::Contains("3 of 6 prompts failed"));
  std::istringstream out(result.out);
  std::vector<nlohmann::json> all;
  for (std::string line; std::getline(out, line);) all.push_back(nlohmann::json::parse(line));
  REQUIRE(all.size() == 6);
  const auto alone =
      in_json(text_of({"-p", "karo", "-s", "1", "-n", "30", "--ignore-eos", "--echo"}));
  CHECK(all[0].at("text") == alone);
  CHECK(all[5].at("text") == alone);
  CHECK(all[1].at("text") != alone);
  CHECK(all[0].at("id") == "one");
  CHECK(all[1].at("id") == nlohmann::json::array({2}));
  CHECK(all[2].at("id") == 3);
  CHECK(all[5].count("id") == 0);
  for (const size_t i : {2, 3, 4}) CHECK(all[i].at("error").is_string());
}

TEST_CASE("two and three processes continue a batch as one does", "[processes]") {
  std::string file;
  for (int i = 0; i < 75; ++i)  // more than a round; two lines are no prompts
    file += i == 7 || i == 64 ? "{\"promt\": \"karo\"}\n"
                              : concat("{\"prompt\": \"karo the ", i,
                                       "\", \"max_tokens\": ", 1 + i * 7 % 9, "}\n");
  io::write_text(place() / "shared.jsonl", file);
  const std::string parallel = GENERATE("1", "3");
  const auto batch = command({"--batch", path("shared.jsonl"), "--parallel", parallel, "--temp",
                              parallel == "1" ? "1" : "0", "--ignore-eos"});
  const auto want = test::Launch(1, batch).wait()[0];
  REQUIRE(want.exit == 65);
  CHECK(std::count(want.out.begin(), want.out.end(), '\n') == 75);
  const auto sorted = [](const std::string& text) {
    std::multiset<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.insert(line);
    return lines;
  };
  for (const int world : {2, 3}) {
    const auto results = test::Launch(world, batch).wait();
    for (size_t rank = 0; rank < results.size(); ++rank) {
      CAPTURE(parallel, world, rank, results[rank].err);
      CHECK(results[rank].exit == 65);
      CHECK((results[rank].out == (rank == 0 ? want.out : "")));
    }
    CHECK(sorted(results[0].err) == sorted(want.err));
    CHECK_THAT(results[1].err, Catch::EndsWith(": 2 of 75 prompts failed\n"));
  }
}

TEST_CASE("a batch of which a process is killed ends in a whole line", "[processes]") {
  std::string file;
  for (int i = 0; i < 2000; ++i) file += concat("karo the ", i, "\n");
  io::write_text(place() / "long.txt", file);
  const auto batch =
      command({"--batch", path("long.txt"), "--parallel", "1", "-n", "40", "--ignore-eos"});
  test::Launch launch(2, batch);
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  launch.processes[1]->signal(SIGKILL);
  const auto results = launch.wait();
  CHECK(results[0].exit == 75);
  CHECK(results[0].err == "lact-generate: error: rank 1 of 2 is gone\n");
  CHECK((results[0].out.empty() || results[0].out.back() == '\n'));
  CHECK(std::count(results[0].out.begin(), results[0].out.end(), '\n') < 2000);
  for (const auto& result : test::Launch(2, command({"--prompt", "karo", "-n", "2"})).wait()) {
    CHECK(result.exit == 69);
    CHECK_THAT(result.err, Catch::Contains("lact-generate text without --batch: is one process"));
  }
}

TEST_CASE("--json gives the text with its counts and the seed that makes it again") {
  const auto plain = text_of({"-p", "ba ke", "-n", "4", "--seed", "7"});
  const auto json =
      nlohmann::json::parse(text_of({"-p", "ba ke", "-n", "4", "--seed", "7", "--json"}));
  using Json = nlohmann::json;  // bytes that are no UTF-8 cannot be in JSON
  const auto shown = Json(plain).dump(-1, ' ', false, Json::error_handler_t::replace);
  CHECK(json.at("text") == Json::parse(shown));
  CHECK(json.at("tokens") == 4);
  CHECK(json.at("seed") == 7);
  CHECK(json.at("finish_reason") == "length");
  CHECK(json.at("prompt_tokens").get<int>() > 1);
}

TEST_CASE("a byte order mark before JSON lines is none of the prompt") {
  const std::string lines = R"({"prompt": "ba ke"})"
                            "\n";
  const auto plain = text_of({"--batch", "-", "-n", "3", "--temp", "0"}, lines);
  CHECK(text_of({"--batch", "-", "-n", "3", "--temp", "0"}, "\xef\xbb\xbf" + lines) == plain);
}

TEST_CASE(
    "a prompt of a batch has its own length, temperature and end, and is refused what is not") {
  const auto lines = [](const std::string& line, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"--batch", "-", "-s", "3", "--ignore-eos"});
    const auto result = generate(more, line + "\n");
    CAPTURE(result.err);
    return nlohmann::json::parse(result.out);
  };
  const auto whole = lines(R"({"prompt": "ba ke"})", {"-n", "12", "--temp", "0"});
  const auto own = lines(R"({"prompt": "ba ke", "max_tokens": 5, "temperature": 0})", {"-n", "12"});
  CHECK(own.at("tokens") == 5);
  const std::string text = whole.at("text"), half = own.at("text");
  CHECK(text.substr(0, half.size()) == half);
  REQUIRE(text.size() > 6);
  const auto word = text.substr(text.size() / 2, 2);
  const auto line = nlohmann::json{{"prompt", "ba ke"}, {"stop", {"never so", word}}}.dump();
  const auto cut = lines(line, {"-n", "12", "--temp", "0"});
  CHECK(cut.at("text") == text.substr(0, text.find(word)));
  CHECK(cut.at("finish_reason") == "stop");
  CHECK_THAT(lines(R"({"prompt": "ba", "top_p": 0.5})").at("error").get<std::string>(),
             Catch::Contains("\"top_p\": not taken with a prompt"));
  CHECK(lines(R"({"prompt": "ba", "stop": ""})").contains("error"));
}

TEST_CASE("a state keeps how tokens are chosen, unless it is said again") {
  const auto file = path("greedy.state");
  text_of({"-p", "ba ke", "-n", "0", "--temp", "0", "--save-state", file});
  const auto greedy = text_of({"-p", "ba ke", "-n", "9", "--temp", "0", "--ignore-eos"});
  CHECK(text_of({"--state", file, "-n", "9", "--ignore-eos"}) == greedy);
  CHECK(text_of({"--state", file, "-n", "9", "--ignore-eos", "--temp", "5", "-s", "3"}) != greedy);
}

TEST_CASE("a batch of any length is done to its end, whatever fails or says nothing") {
  std::string lines;
  for (int i = 0; i < 100; ++i) lines += "karo\n";
  const auto count = [](const std::string& text) {
    return std::count(text.begin(), text.end(), '\n');
  };
  CHECK(count(text_of({"--batch", "-", "--parallel", "1", "-n", "0"}, lines)) == 100);
  std::string broken;
  for (int i = 0; i < 100; ++i) broken += "{\n";
  const auto result =
      generate({"--batch", "-", "--parallel", "1", "-n", "1"}, broken + "{\"prompt\": \"karo\"}\n");
  CHECK(result.exit == 65);
  CHECK(count(result.out) == 101);
  CHECK_THAT(result.out, Catch::Contains("\"finish_reason\""));
  // The first is long, and all others wait for it.
  const auto long_first =
      text_of({"--batch", "-", "--parallel", "2", "-n", "200", "--ignore-eos", "-s", "1"},
              "karo\n" + lines);
  CHECK(count(long_first) == 101);
}

TEST_CASE("who waits for the next line of a pipe ends at a signal") {
  const test::TemporaryFolder folder;
  const auto fifo = (folder / "pipe").string();
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  const int held = ::open(fifo.c_str(), O_RDWR | O_CLOEXEC);  // never at its end
  REQUIRE(held >= 0);
  const std::string tool = (test::build_root() / "tools/lact-generate").string();
  for (const char* what : {"--batch -", "--score - --pairs"}) {
    CAPTURE(what);
    test::Process process({"/bin/sh", "-c",
                           concat("exec ", tool, " text --model ", path("model"),
                                  " --dtype float32 ", what, " < ", fifo)});
    std::this_thread::sleep_for(std::chrono::seconds(2));
    CHECK(process.running());
    process.signal(SIGINT);
    CHECK(process.wait(std::chrono::seconds(20)).exit == 130);
  }
  ::close(held);
}

TEST_CASE("an end of text ends one of a batch, and the next takes its place") {
  const auto eos = std::to_string(*test::load(place() / "model").tokenizer.eos());
  std::string lines;
  for (int i = 0; i < 40; ++i) lines += "karo " + std::to_string(i) + "\n";
  // At this bias texts end after a few tokens, each at its own.
  const auto out =
      text_of({"--batch", "-", "--parallel", "4", "-l", eos + "+4", "-s", "1", "-n", "30"}, lines);
  std::istringstream stream(out);
  int64_t stopped = 0, count = 0;
  for (std::string line; std::getline(stream, line); ++count) {
    const auto one = nlohmann::json::parse(line);
    CHECK(one.at("index") == count);
    const bool stop = one.at("finish_reason") == "stop";
    CHECK((one.at("tokens") < 30) == stop);
    stopped += stop;
  }
  CHECK(count == 40);
  CHECK(stopped > 10);
}

TEST_CASE("SIGINT ends a run with 130 after its state was saved, and the state goes on") {
  const std::string tool = (test::build_root() / "tools/lact-generate").string();
  const auto command =
      "exec " + tool + " text --model " + path("model") + " --dtype float32 --threads 1" +
      " -p karo -s 3 -n -1 --ignore-eos --save-state " + path("stopped") + " > " + path("out");
  test::Process process({"/bin/sh", "-c", command});
  const auto size = [&] {
    std::error_code error;
    const auto bytes = std::filesystem::file_size(path("out"), error);
    return error ? 0 : bytes;
  };
  // Tokens come as they are written: long before the end, which never comes.
  for (int i = 0; i < 6000 && size() < 100; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(process.running());
  process.signal(SIGINT);
  const auto result = process.wait();
  CHECK(result.exit == 130);
  const auto first = read("out");
  const auto rest = text_of({"--state", path("stopped"), "-n", "20", "--ignore-eos"});
  const auto whole = text_of({"-p", "karo", "-s", "3", "-n", "2000", "--ignore-eos"});
  REQUIRE(whole.size() > first.size() + rest.size());
  CHECK(whole.substr(0, first.size() + rest.size()) == first + rest);
}

TEST_CASE("a signal at any moment leaves a whole state or none, and 130 or 143") {
  const test::TemporaryFolder folder;
  const auto state = (folder / "any.state").string();
  const auto command = concat("exec ", (test::build_root() / "tools/lact-generate").string(),
                              " text --model ", path("model"), " --threads 1 -p karo -n -1",
                              " --ignore-eos --save-state ", state, " > ", path("any"));
  const auto writes = [] {
    std::error_code none;
    const auto size = std::filesystem::file_size(path("any"), none);
    return !none && size > 0;
  };
  std::mt19937 random(7);
  int saved = 0;
  const int count = test::trials(6);
  for (int i = 0; i < count; ++i) {
    std::filesystem::remove(state);
    std::filesystem::remove(path("any"));
    test::Process process({"/bin/sh", "-c", command});
    const auto wait = std::chrono::milliseconds(random() % 800);
    std::this_thread::sleep_for(wait);
    if (i + 1 == count)  // the last one late enough to be heard
      while (process.running() && !writes())
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const int number = i % 2 == 0 ? SIGINT : SIGTERM;
    process.signal(number);
    const auto result = process.wait(std::chrono::seconds(20));
    CAPTURE(i, wait.count(), result.err);
    CHECK(result.exit == 128 + number);
    const bool there = std::filesystem::exists(state);
    saved += there;
    if (there) CHECK(test::run({"lact-generate", "text", "--inspect-state", state}).exit == 0);
    // Nothing half written lies beside it.
    const std::filesystem::directory_iterator files(folder.path());
    CHECK(std::distance(begin(files), end(files)) == there);
  }
  CHECK(saved > 0);
}

TEST_CASE("a reader that goes away ends the run quietly") {
  const std::string tool = (test::build_root() / "tools/lact-generate").string();
  const auto result =
      test::run({"/bin/sh", "-c",
                 tool + " text --model " + path("model") +
                     " --dtype float32 --threads 1 -p karo -n -1 --ignore-eos | head -c 50"});
  CHECK(result.exit == 0);
  CHECK(result.err == "");
  CHECK(result.out.size() == 50);
}

TEST_CASE("an inspected state says what it holds") {
  text_of({"-p", "the ro", "-n", "7", "-s", "1", "--ignore-eos", "--save-state", path("look")});
  const auto loaded = test::load(place() / "model");
  const auto tokens = 1 + loaded.tokenizer.encode("the ro").size() + 7;  // with BOS
  const auto shown =
      test::run({"lact-generate", "text", "--inspect-state", path("look"), "--json"});
  CHECK(shown.exit == 0);
  const auto json = nlohmann::json::parse(shown.out);
  CHECK(json.at("kind") == "state");
  CHECK(json.at("modality") == "text");
  CHECK(json.at("tokens") == tokens);
  CHECK(json.at("layers") == 2);
  CHECK(json.at("model") == loaded.hash);
  CHECK(json.at("tokenizer") == loaded.tokenizer.hash());
  CHECK(json.at("dtype") == "float32");
  // 2 layers, 2 heads, gate, up and down of 16 x 16 floats.
  CHECK(json.at("parts").at("fast") == 2 * 2 * 3 * 16 * 16 * 4);
  const auto page = test::run({"lact-generate", "text", "--inspect-state", path("look")});
  CHECK_THAT(page.out, Catch::Contains(loaded.hash) && Catch::Contains("tokens"));
}

TEST_CASE("what cannot work is refused with one line and the exit code of its kind") {
  check_fails({"-p", "a", "-f", path("text.txt")}, 64, "exclude each other");
  check_fails({"--per-token"}, 64, "--score");
  check_fails({"--batch", "-", "-p", "a"}, 64, "--batch takes no other prompt");
  check_fails({"--batch", path("missing.txt")}, 66, "missing.txt");
  check_fails({"-p", "a", "-l", "x+1"}, 64, "--logit-bias");
  check_fails({"-p", "a", "-n", "-2"}, 64, "--predict");
  check_fails({"-p", "", "--no-bos", "-n", "5"}, 64, "nothing to continue");
  check_fails({"-f", path("missing.txt")}, 66, "missing.txt");
  check_fails({"--state", path("missing"), "-n", "1"}, 66, "missing");
  check_fails({"--tokenizer", path("missing.model")}, 66, "missing.model");
  check_fails({"--state", path("model/model.safetensors"), "-n", "1"}, 65, "no state");
  check_fails({"-p", "a", "-n", "1", "--save-state", path("no/such/folder/x")}, 73, "no/such");
  test::write_model(place() / "other", test::small_config(), 9);
  text_of({"-p", "a", "-n", "1", "--save-state", path("mine")});
  check_fails({"--state", path("mine"), "--model", path("other"), "-n", "1"}, 65, "another model");
  const auto none = test::run({"lact-generate", "text", "-p", "a"});
  CHECK(none.exit == 64);
  CHECK_THAT(none.err, Catch::Contains("--model"));
}
