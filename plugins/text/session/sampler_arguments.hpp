#pragma once
// The sampling options of a command line, which a state keeps: who goes on need not say them again.

#include <plugins/text/session/sampler.hpp>

#include <lact/cli/options.hpp>
#include <lact/io/state.hpp>

#include <optional>
#include <string>
#include <vector>

namespace lact::text {

class SamplerArguments {
 public:
  void declare(cli::Options options);
  /// Those given, else those of the state (those of earlier versions have none), else the defaults.
  /// Errors   64 naming a bias that is none, 65 if the state's are malformed
  SamplerOptions resolve(const io::State* state) const;
  static void save(const SamplerOptions& sampler, io::State& state);

 private:
  template <class Self, class Visit>
  static void each(Self& self, const Visit& visit);

  std::optional<double> temp_, top_p_, min_p_, typical_, repeat_penalty_;
  std::optional<int64_t> top_k_, repeat_last_n_;
  std::vector<std::string> biases_;
};

}  // namespace lact::text
