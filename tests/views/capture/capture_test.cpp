#include <support/test.hpp>
