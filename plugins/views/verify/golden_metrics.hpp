#pragma once
// Recorded values of PSNR, SSIM and LPIPS.

#include <lact/verify/kind.hpp>

namespace lact::views {

verify::GoldenKind metrics_kind();

}  // namespace lact::views
