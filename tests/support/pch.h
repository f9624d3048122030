// Parsed once for all tests: see libs/lact/src/pch.

#include "../../libs/lact/src/pch/tensors.h"
#include "test.hpp"
