#include <lact/ops/ceiling.hpp>

#include "commands.hpp"

#include <c10/core/ScalarType.h>

#include <nlohmann/json.hpp>

#include <cstdio>

namespace lact::bench {
namespace {

struct Ceilings {
  double float32 = 0, bfloat16 = 0;  ///< FLOP/s
  double copy = 0;                   ///< bytes/s
};

std::string as_json(const Ceilings& rates, const cli::Context& context) {
  const nlohmann::ordered_json document{
      {"device", context.device.str()},
      {"threads", context.threads},
      {"product_flops_per_second", {{"float32", rates.float32}, {"bfloat16", rates.bfloat16}}},
      {"copy_bytes_per_second", rates.copy},
      {"auto_dtype", rates.bfloat16 >= 1.2 * rates.float32 ? "bfloat16" : "float32"}};
  return document.dump(2) + "\n";
}

std::string row(const std::string& device, const char* what, double value, const char* unit) {
  char text[160];
  std::snprintf(text, sizeof text, "| %-8s | %-24s | %9.1f | %-7s |\n", device.c_str(), what, value,
                unit);
  return text;
}

std::string as_markdown(const Ceilings& rates, const cli::Context& context) {
  auto device = context.device.str();
  if (context.device.is_cpu()) device += concat(" x", context.threads);
  return concat("| device   | measure                  |      rate | unit    |\n",
                "| -------- | ------------------------ | --------: | ------- |\n",
                row(device, "matrix product, float32", rates.float32 / 1e9, "GFLOP/s"),
                row(device, "matrix product, bfloat16", rates.bfloat16 / 1e9, "GFLOP/s"),
                row(device, "copy, read and write", rates.copy / 1e9, "GB/s"));
}

class Ceiling final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options.footer(
        "Rates are the best of repeated runs on --device with --threads: nothing else on this\n"
        "machine can exceed them. A multiply-add counts as 2 FLOPs, a copied byte as 2 bytes.");
    options.add("--seconds", seconds_, "duration of each of the three measurements")
        .range(0.01, 600.0)
        .value("S");
    options.add("--size", size_, "rows of the square matrices, from 16; 0: grow to the best")
        .range(0, 32768)
        .value("N");
  }

  void run(cli::Context& context) override {
    const auto product = [&](c10::ScalarType dtype) {
      return ops::product_rate(context.device, dtype, seconds_, size_);
    };
    const Ceilings rates{product(at::kFloat), product(at::kBFloat16),
                         ops::copy_rate(context.device, seconds_)};
    cli::out(context.json ? as_json(rates, context) : as_markdown(rates, context));
  }

 private:
  double seconds_ = 1;
  int64_t size_ = 0;
};

}  // namespace

std::unique_ptr<plugin::Command> ceiling_command() {
  return std::make_unique<Ceiling>();
}

}  // namespace lact::bench
