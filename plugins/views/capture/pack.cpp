#include <plugins/views/scene.hpp>
