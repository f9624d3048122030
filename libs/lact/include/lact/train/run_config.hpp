#pragma once
// run.toml: the options a run was started with, and what may change when it goes on.

#include <lact/cli/run.hpp>

#include <map>
#include <string>
#include <vector>

namespace lact::train {

/// The text with top-level keys set to values (TOML literals: "3", "\"cpu\""), or without them
/// (""). All other lines stay as they are.
/// Errors   65 naming `what` if the text is not TOML
std::string edit_config(const std::string& toml, const std::map<std::string, std::string>& values,
                        const std::string& what = "run.toml");

/// A top-level key's value as a TOML literal, strings without quotes; "" if there is none.
std::string config_value(const std::string& toml, const std::string& key,
                         const std::string& what = "run.toml");

/// The text with the names that keys and values have today.
/// Errors   65 naming `what` if the text is not TOML
std::string translated(const std::string& toml, const std::vector<cli::Renamed>& renamed,
                       const std::string& what = "run.toml");

/// Keys whose values differ, or that one side lacks, and that matter to a run that goes on: not
/// those of logging, evaluation, saving, skipping and length, nor those that the stored file does
/// not name at all, being older than they are. One line each: "lr: 0.001 in the run, 0.01 now".
std::vector<std::string> contradictions(const std::string& stored, const std::string& given);

/// `lact-train MODALITY --resume -o DIR` takes its options from DIR/run.toml: puts
/// `--config DIR/run.toml` before `words` if they ask for that, the file exists, and no other
/// --config is given. A file of the time before --optimizer means adamw.
/// Errors   65 naming the file if it is not TOML
void use_run_config(std::vector<std::string>& words);

}  // namespace lact::train
