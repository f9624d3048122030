#pragma once
// Rendered views beside the truth and beside what needs no model.

#include <plugins/common/media/quality.hpp>
#include <plugins/views/scene/views.hpp>

#include <ATen/core/Tensor.h>

#include <string>

namespace lact::views {

/// Scores of `rendered` [T, 3, h, w], the targets of `views`, and, where views were read beside
/// them, of the nearest context view and the mean colour: lines for people, or JSON with a row for
/// each target.
std::string comparison_text(const at::Tensor& rendered, const Views& views,
                            const media::Lpips* lpips, bool json);

/// Inputs, truth, rendered views and their difference, the first eight of each.
media::Image comparison_sheet(const at::Tensor& rendered, const Views& views);

}  // namespace lact::views
