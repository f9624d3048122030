#pragma once
// Contact sheets: many small images on one, with words beside them.

#include "image.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace lact::media {

struct SheetRow {
  std::string label;          ///< left of the row
  std::vector<Image> images;  ///< left to right
};

/// UTF-8 in the letters of a sheet, which are ASCII's: without accents, and a question mark for
/// each character of another script.
std::string plain_letters(std::string_view text);

/// Rows below each other, labels in a plain typeface and plain_letters(); columns as wide as their
/// widest image or title, images in the middle of their cells, alpha over white. `titles` stand
/// above the columns (may be empty).
Image contact_sheet(const std::vector<SheetRow>& rows, const std::vector<std::string>& titles = {});

}  // namespace lact::media
