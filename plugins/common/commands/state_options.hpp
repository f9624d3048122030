#pragma once
// --state, --save-state and --inspect-state of every verb that continues a context.

#include <lact/cli/options.hpp>
#include <lact/cli/run.hpp>
#include <lact/io/state.hpp>

#include <optional>
#include <string>

namespace lact::commands {

class StateOptions {
 public:
  /// `load` and `save`: what help says of --state and --save-state.
  void declare(cli::Options options, const std::string& load, const std::string& save);
  /// Prints what --inspect-state asks for. True: that was all.
  bool inspect(const cli::Context& context) const;
  /// Errors   73 if --save-state names a folder that cannot be written to: better now than at the
  ///          end
  void check_folder() const;

  bool loads() const { return !load_.empty(); }
  bool saves() const { return !save_.empty(); }
  bool saves_to_stdout() const { return save_ == "-"; }
  const std::string& file() const { return load_; }  ///< of --state
  /// --state, if it is given. Errors: as io::load_state
  std::optional<io::State> load() const;
  void save(const io::State& state) const { io::save_state(save_, state); }

 private:
  std::string load_, save_, inspect_;
};

/// The type of matrix products: that which the state was computed in, unless --dtype asks for
/// another; without a state what `dtype` means ("auto", "float32", ...).
/// Errors   65 if the state names no type that this program computes in
at::ScalarType product_type(const cli::Context& context, const std::string& dtype,
                            const std::optional<io::State>& state);

}  // namespace lact::commands
