// What nearly every file that calls tensor operations includes, parsed once per library instead of
// once per file. No file counts on it: each includes what it uses, and -Db_pch=false builds as
// well.

#include "plain.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
