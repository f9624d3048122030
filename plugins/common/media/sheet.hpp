#pragma once
// Contact sheets: many small images on one, with words beside them.

#include "image.hpp"

#include <string>
#include <vector>

namespace lact::media {

struct SheetRow {
  std::string label;          ///< left of the row; ASCII
  std::vector<Image> images;  ///< left to right
};

/// Rows below each other, labels in a plain typeface; columns as wide as their widest image or
/// title, images in the middle of their cells, alpha over white. `titles` stand above the columns
/// (may be empty).
Image contact_sheet(const std::vector<SheetRow>& rows, const std::vector<std::string>& titles = {});

}  // namespace lact::media
