#pragma once
// Photographs and masks, by the names that cameras give them.

#include "capture.hpp"

namespace lact::views {

/// Where the photographs of all shots lie. A name that is not there as it stands may have been
/// written on Windows, or lie in another folder, there by as much of its end as fits: in that of
/// --images, or in images_4 and its like, where smaller copies of photographs are. Two names must
/// not mean one file so: what is missing, or taken, is a fault of the shot.
void find_images(Capture& capture, const Preparation& how);

/// The same for masks: of --masks, or what the camera file names.
/// Errors   66 if the folder cannot be read
void find_masks(Capture& capture, const Preparation& how);

}  // namespace lact::views
