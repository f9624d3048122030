// A program that ends in every way a tool can end, for run_test.cpp.

#include <lact/cli/options.hpp>
#include <lact/cli/run.hpp>
#include <lact/io/safetensors.hpp>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <new>
#include <thread>

namespace {

using lact::Error;
using lact::Exit;

void nap() {
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

/// "stop": ends when asked. "stubborn": polls, but goes on. "deaf": never polls.
void endure(const std::string& how, const std::string& ready) {
  if (how != "deaf") lact::cli::stop_requested();
  std::ofstream{ready};
  for (int i = 0; i < 30000; ++i, nap())
    if (how == "stop" && lact::cli::stop_requested()) throw lact::cli::Interrupted();
}

/// Reads a mapped file that was cut after it was opened.
void read_cut(const std::string& file) {
  const auto opened = lact::io::SafeTensors::open(file);
  const auto& last = opened.entries().back();
  const auto* bytes = opened.bytes(last.name);
  std::filesystem::resize_file(file, 4096);
  const volatile std::byte end = bytes[last.end - last.begin - 1];
  (void)end;
}

void fail(const std::string& how, const std::string& code) {
  if (how == "error") throw Error(static_cast<Exit>(std::stoi(code)), "a.txt: line 3: ", "x\ny");
  if (how == "bad-alloc") throw std::bad_alloc();
  if (how == "tensor") at::empty({int64_t{1} << 50}, at::kByte);
  if (how == "torch") TORCH_CHECK(false, "the first line\nthe second line");
  if (how == "logic") throw std::logic_error("a bug\nand more");
  if (how == "int") throw 3;
}

void progress() {
  lact::cli::Progress bar("copying", 1000, "MB");
  for (int i = 0; i <= 60; ++i) {
    bar.set(16 * i, "note");
    std::this_thread::sleep_for(std::chrono::milliseconds(12));
  }
}

void options(lact::cli::Args& args) {
  lact::cli::CommandLine line("Options.");
  auto own = line.options();
  lact::cli::Context context;
  context.program = "lact-probe options";
  std::string text = "initial";
  std::vector<std::string> list, files;
  int count = 7;
  own.add("FILE", files, "files");
  own.add("--text,--alias", text, "a text").renamed("ancient", "modern");
  own.add("--list", list, "several");
  own.add("--count", count, "a number").range(0, 100);
  own.renamed("--number", "--count");
  own.renamed("-N", "--count");
  args.words.erase(args.words.begin());
  args.rest.insert(args.rest.begin(), args.words.begin(), args.words.end());
  line.parse(args, context);
  std::string all = "text=" + text + " count=" + std::to_string(count) + " list=";
  for (const auto& one : list) all += one + ";";
  all += " files=";
  for (const auto& one : files) all += one + ";";
  lact::cli::out(lact::concat(all, " threads=", context.threads, " seed=", context.seed.value_or(0),
                              " device=", context.device.str(), " dtype=", context.dtype, "\n"));
}

}  // namespace

int main(int argc, char** argv) {
  return lact::cli::run("lact-probe", argc, argv, [](lact::cli::Args& args) {
    const auto word = args.words.at(0);
    const std::string more = args.words.size() > 1 ? args.words[1] : "";
    if (word == "stop" || word == "stubborn" || word == "deaf") endure(word, more);
    if (word == "flood")
      for (const std::string line(1000, 'x');;) lact::cli::out(line + "\n");
    if (word == "stream") std::cout << "through a C++ stream\n";
    if (word == "progress") return progress();
    if (word == "options") return options(args);
    if (word == "cut") return read_cut(more);
    fail(word, more);
  });
}
