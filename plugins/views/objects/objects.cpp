#include <plugins/views/camera.hpp>
