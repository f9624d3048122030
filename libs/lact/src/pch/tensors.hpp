#pragma once
// What nearly every file that computes includes, parsed once per library instead of once per file.
// No file counts on it: each includes what it uses, and -Db_pch=false builds as well.

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>
