#include "sheet.hpp"

#include <lact/error.hpp>

#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <cstdint>

namespace lact::media {
namespace {

constexpr int kFont = cv::FONT_HERSHEY_SIMPLEX;
constexpr int64_t kMargin = 16, kGap = 6;
const cv::Scalar kInk(40, 40, 40);

/// U+00C0 to U+017F without their marks; '*' stands for more than one letter.
constexpr std::string_view kPlain =
    "AAAAAA*CEEEEIIIIDNOOOOOxOUUUUY**aaaaaa*ceeeeiiiidnooooo/ouuuuy*y"
    "AaAaAaCcCcCcCcDdDdEeEeEeEeEeGgGgGgGgHhHhIiIiIiIiIi**JjKkkLlLlLlLlLlNnNnNnnNnOoOoOo**"
    "RrRrRrSsSsSs"
    "SsTtTtTtUuUuUuUuUuUuWwYyYZzZzZzs";

const char* letters_of(uint32_t point) {
  switch (point) {
    case 0xC6:
      return "AE";
    case 0xDE:
      return "Th";
    case 0xDF:
      return "ss";
    case 0xE6:
      return "ae";
    case 0xFE:
      return "th";
    case 0x132:
      return "IJ";
    case 0x133:
      return "ij";
    case 0x152:
      return "OE";
    case 0x153:
      return "oe";
    case 0x2018:
    case 0x2019:
      return "'";
    case 0x201C:
    case 0x201D:
      return "\"";
    case 0x2013:
    case 0x2014:
      return "-";
    case 0x2026:
      return "...";
    default:
      return "?";
  }
}

/// The code point that begins at `at`, which moves behind it; U+FFFD for a byte that begins none.
uint32_t next_point(std::string_view text, size_t& at) {
  const auto first = static_cast<unsigned char>(text[at++]);
  const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : first >= 0xC0 ? 1 : 0;
  if (first < 0x80) return first;
  if (more == 0) return 0xFFFD;
  uint32_t point = first & (0x3Fu >> more);
  for (int i = 0; i < more; ++i) {
    if (at == text.size() || (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80) return 0xFFFD;
    point = point << 6 | (static_cast<unsigned char>(text[at++]) & 0x3F);
  }
  return point;
}

/// One size of letters for a sheet, by the images it shows.
struct Letters {
  explicit Letters(int64_t image_height)
      : height(static_cast<int>(std::clamp<int64_t>(image_height / 16, 9, 20))),
        thickness(height >= 16 ? 2 : 1),
        scale(cv::getFontScaleFromHeight(kFont, height, thickness)) {}

  int64_t width(const std::string& text) const {
    int below = 0;
    const auto plain = plain_letters(text);
    return plain.empty() ? 0 : cv::getTextSize(plain, kFont, scale, thickness, &below).width;
  }
  /// With room for what hangs below the line.
  int64_t line() const { return height + height / 2; }

  /// Capitals stand from y - height to y.
  void put(Image& image, const std::string& text, int64_t x, int64_t y) const {
    cv::Mat view(static_cast<int>(image.height), static_cast<int>(image.width), CV_8UC3,
                 image.pixels.data());
    cv::putText(view, plain_letters(text), {static_cast<int>(x), static_cast<int>(y)}, kFont, scale,
                kInk, thickness, cv::LINE_AA);
  }

  int height, thickness;
  double scale;
};

void paste(const Image& from, Image& into, int64_t x, int64_t y) {
  const Image opaque = over(from);
  for (int64_t row = 0; row < opaque.height; ++row)
    std::copy_n(opaque.at(0, row), opaque.width * 3, into.at(x, y + row));
}

/// Where everything goes.
struct Layout {
  std::vector<int64_t> columns, rows;  // widths, heights
  int64_t labels = 0, titles = 0;      // width, height; with the gap to the images

  int64_t width() const { return sum(columns) + labels + 2 * kMargin; }
  int64_t height() const { return sum(rows) + titles + 2 * kMargin; }

 private:
  static int64_t sum(const std::vector<int64_t>& sizes) {
    int64_t total = -kGap;
    for (const int64_t size : sizes) total += size + kGap;
    return std::max<int64_t>(total, 0);
  }
};

Layout layout_of(const std::vector<SheetRow>& rows, const std::vector<std::string>& titles,
                 const Letters& letters) {
  Layout out;
  for (const auto& row : rows) {
    int64_t height = row.label.empty() ? 0 : letters.line();
    for (size_t i = 0; i < row.images.size(); ++i) {
      if (i == out.columns.size()) out.columns.push_back(0);
      out.columns[i] = std::max(out.columns[i], row.images[i].width);
      height = std::max(height, row.images[i].height);
    }
    out.rows.push_back(height);
    if (!row.label.empty())
      out.labels = std::max(out.labels, letters.width(row.label) + 2 * letters.height);
  }
  for (size_t i = 0; i < titles.size(); ++i) {
    if (i == out.columns.size()) out.columns.push_back(0);
    out.columns[i] = std::max(out.columns[i], letters.width(titles[i]));
    if (!titles[i].empty()) out.titles = letters.line() + kGap;
  }
  return out;
}

}  // namespace

std::string plain_letters(std::string_view text) {
  std::string plain;
  for (size_t at = 0; at < text.size();) {
    const auto point = next_point(text, at);
    if (point >= 0x300 && point < 0x370) continue;  // a mark on the letter before
    const auto place = point - 0xC0;                // wraps below it
    if (point >= ' ' && point <= '~')
      plain += static_cast<char>(point);
    else if (place < kPlain.size() && kPlain[place] != '*')
      plain += kPlain[place];
    else
      plain += letters_of(point);
  }
  return plain;
}

Image contact_sheet(const std::vector<SheetRow>& rows, const std::vector<std::string>& titles) try {
  int64_t tallest = 0;
  for (const auto& row : rows)
    for (const auto& image : row.images) tallest = std::max(tallest, image.height);
  const Letters letters(tallest);
  const auto layout = layout_of(rows, titles, letters);
  Image sheet(layout.width(), layout.height());
  std::fill(sheet.pixels.begin(), sheet.pixels.end(), uint8_t{255});

  const int64_t left = kMargin + layout.labels;
  int64_t x = left, y = kMargin;
  for (size_t i = 0; i < titles.size(); x += layout.columns[i++] + kGap)
    letters.put(sheet, titles[i], x + (layout.columns[i] - letters.width(titles[i])) / 2,
                y + letters.height);
  y += layout.titles;
  for (size_t r = 0; r < rows.size(); y += layout.rows[r++] + kGap) {
    letters.put(sheet, rows[r].label, kMargin, y + (layout.rows[r] + letters.height) / 2);
    x = left;
    for (size_t i = 0; i < rows[r].images.size(); x += layout.columns[i++] + kGap) {
      const auto& image = rows[r].images[i];
      paste(image, sheet, x + (layout.columns[i] - image.width) / 2,
            y + (layout.rows[r] - image.height) / 2);
    }
  }
  return sheet;
} catch (const cv::Exception& error) {
  throw Error(Exit::internal, "contact sheet: ", error.err);
}

}  // namespace lact::media
