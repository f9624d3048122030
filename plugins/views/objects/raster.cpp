#include "raster.hpp"

#include "surface.hpp"

#include <lact/error.hpp>

#include <algorithm>
#include <cmath>

namespace lact::views::objects {
namespace {

constexpr double kNear = 0.01;
constexpr double kMostPlace = 1 << 29;
// Surfaces closer than this (of their distance) lie in each other: the one whose front is seen
// wins, then the first. Otherwise rounding would draw stripes, others from each camera.
constexpr float kTogether = 5e-5f;
constexpr float kInvisible = 0.005f;
constexpr size_t kMostFragments = size_t{1} << 25;

/// A corner as the camera sees it.
struct SeenCorner {
  double x = 0, y = 0, z = 0;  // in the camera's axes
  float u = 0, v = 0;
  Point normal{};
};

/// One sample point: what is nearest there.
struct Sample {
  float iz = 0;  // 0: nothing
  int32_t surface = -1;
};

/// A point of a surface that lets through.
struct Fragment {
  int32_t sample = 0;
  float iz = 0;
  int32_t surface = 0;
  Paint paint{};
};

/// The normal of a triangle's plane, on the side that `eye` sees.
Point normal_towards(const Vector& eye, const Point& a, const Point& b, const Point& c) {
  const Point u{b[0] - a[0], b[1] - a[1], b[2] - a[2]}, v{c[0] - a[0], c[1] - a[1], c[2] - a[2]};
  const auto n =
      unit3({u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]});
  const Point to{static_cast<float>(eye[0]) - a[0], static_cast<float>(eye[1]) - a[1],
                 static_cast<float>(eye[2]) - a[2]};
  return dot3(n, to) < 0 ? Point{-n[0], -n[1], -n[2]} : n;
}

/// Where the edge from `a` to `b` meets the near plane.
SeenCorner crossing(const SeenCorner& a, const SeenCorner& b) {
  const double share = (kNear - a.z) / (b.z - a.z);
  const auto f = static_cast<float>(share);
  SeenCorner out{a.x + share * (b.x - a.x), a.y + share * (b.y - a.y), kNear,
                 a.u + f * (b.u - a.u),     a.v + f * (b.v - a.v),     a.normal};
  for (size_t c = 0; c < 3; ++c) out.normal[c] += f * (b.normal[c] - a.normal[c]);
  return out;
}

}  // namespace

struct Renderer::Impl {
  Impl(const Mesh& mesh_, int64_t width_, int64_t height_, int samples_)
      : mesh(mesh_),
        width(width_),
        height(height_),
        samples(samples_),
        columns(width_ * samples_),
        rows(height_ * samples_),
        buffer(static_cast<size_t>(columns * rows)) {}

  void place(const Camera& camera);
  void cut(const Triangle& triangle);
  void add(const Triangle& triangle, const std::array<SeenCorner, 3>& corners, bool smooth);
  void fill(int32_t index);
  void touch(Sample& sample, float iz, int32_t index, int64_t column, int64_t row);
  media::Image resolve();

  const Mesh& mesh;
  int64_t width, height;
  int samples;
  int64_t columns, rows;  // of sample points
  std::vector<Sample> buffer;
  std::vector<std::array<double, 3>> seen;  // places in the camera's axes
  std::vector<Surface> surfaces;
  std::vector<Fragment> fragments;
  Camera camera;
  Material standard;
};

/// Places in the camera's axes.
void Renderer::Impl::place(const Camera& from) {
  camera = from;
  const auto eye = camera.position();
  seen.resize(mesh.places.size());
  for (size_t i = 0; i < seen.size(); ++i) {
    const Vector p{mesh.places[i][0] - eye[0], mesh.places[i][1] - eye[1],
                   mesh.places[i][2] - eye[2]};
    for (int axis = 0; axis < 3; ++axis)
      seen[i][static_cast<size_t>(axis)] = dot(p, camera.c2w.column(axis));
  }
}

/// What of a triangle is in front of the camera, as triangles on the picture.
void Renderer::Impl::cut(const Triangle& triangle) {
  const auto place = [&](size_t k) {
    return mesh.places[static_cast<size_t>(triangle.corners[k].place)];
  };
  const auto face = normal_towards(camera.position(), place(0), place(1), place(2));
  std::array<SeenCorner, 3> corners;
  bool smooth = true;
  for (const auto& corner : triangle.corners) smooth &= corner.normal >= 0;
  for (size_t k = 0; k < 3; ++k) {
    const auto& corner = triangle.corners[k];
    const auto& p = seen[static_cast<size_t>(corner.place)];
    corners[k] = {p[0], p[1], p[2], 0, 0, face};
    if (corner.texture >= 0) {
      const auto& uv = mesh.textured[static_cast<size_t>(corner.texture)];
      corners[k].u = uv[0], corners[k].v = uv[1];
    }
    if (!smooth) continue;
    // The side that is seen; files' normals may point to the other one.
    auto& n = corners[k].normal = unit3(mesh.normals[static_cast<size_t>(corner.normal)]);
    if (dot3(n, face) < 0) n = {-n[0], -n[1], -n[2]};
  }
  std::array<SeenCorner, 4> kept;
  size_t count = 0;
  for (size_t k = 0; k < 3; ++k) {
    const auto &from = corners[k], &next = corners[(k + 1) % 3];
    if (from.z >= kNear) kept[count++] = from;
    if ((from.z < kNear) != (next.z < kNear)) kept[count++] = crossing(from, next);
  }
  for (size_t k = 2; k < count; ++k) add(triangle, {kept[0], kept[k - 1], kept[k]}, smooth);
}

void Renderer::Impl::add(const Triangle& triangle, const std::array<SeenCorner, 3>& corners,
                         bool smooth) {
  Surface surface;
  for (size_t k = 0; k < 3; ++k) {
    const double x = (camera.fx * corners[k].x / corners[k].z + camera.cx) * samples * kSub;
    const double y = (camera.fy * corners[k].y / corners[k].z + camera.cy) * samples * kSub;
    if (!(std::abs(x) < kMostPlace && std::abs(y) < kMostPlace)) return;
    surface.x[k] = std::llround(x), surface.y[k] = std::llround(y);
    surface.iz[k] = 1 / corners[k].z;
    surface.u[k] = corners[k].u, surface.v[k] = corners[k].v;
    surface.normal[k] = corners[k].normal;
  }
  int64_t area = (surface.x[1] - surface.x[0]) * (surface.y[2] - surface.y[0]) -
                 (surface.y[1] - surface.y[0]) * (surface.x[2] - surface.x[0]);
  if (area == 0) return;
  // Counter-clockwise is front; on the picture, where y goes down, that is a negative area.
  surface.front = area < 0;
  if (area < 0) {
    std::swap(surface.x[1], surface.x[2]), std::swap(surface.y[1], surface.y[2]);
    std::swap(surface.iz[1], surface.iz[2]), std::swap(surface.u[1], surface.u[2]);
    std::swap(surface.v[1], surface.v[2]), std::swap(surface.normal[1], surface.normal[2]);
    area = -area;
  }
  surface.area = static_cast<double>(area);
  surface.material =
      triangle.material >= 0 ? &mesh.materials[static_cast<size_t>(triangle.material)] : &standard;
  const auto& m = *surface.material;
  bool mapped = m.texture >= 0;
  for (const auto& corner : triangle.corners) mapped &= corner.texture >= 0;
  if (mapped) surface.texture = &mesh.textures[static_cast<size_t>(m.texture)];
  surface.smooth = smooth;
  surface.sheer = m.opacity < kOpaque || (mapped && surface.texture->sheer());
  surfaces.push_back(surface);
}

/// A surface covers a sample point.
void Renderer::Impl::touch(Sample& sample, float iz, int32_t index, int64_t column, int64_t row) {
  const auto& surface = surfaces[static_cast<size_t>(index)];
  const bool nearer = iz > sample.iz * (1 + kTogether);
  const bool together = !nearer && iz >= sample.iz * (1 - kTogether);
  if (!nearer && !together) return;
  if (!surface.sheer) {
    if (nearer || (surface.front && !surfaces[static_cast<size_t>(sample.surface)].front))
      sample = {iz, index};
    return;
  }
  const auto paint = surface.paint(column, row);
  if (paint[3] >= kOpaque) {
    if (nearer) sample = {iz, index};
  } else if (paint[3] > kInvisible) {  // in an opaque surface it lies on it
    if (fragments.size() >= kMostFragments)
      throw Error(Exit::data, "too many surfaces that let through");
    fragments.push_back({static_cast<int32_t>(&sample - buffer.data()), iz, index, paint});
  }
}

/// Puts a triangle into the buffer, where nothing is nearer.
void Renderer::Impl::fill(int32_t index) {
  const auto& surface = surfaces[static_cast<size_t>(index)];
  const auto [x_low, x_high] = std::minmax({surface.x[0], surface.x[1], surface.x[2]});
  const auto [y_low, y_high] = std::minmax({surface.y[0], surface.y[1], surface.y[2]});
  // Sample points lie in the middle of their squares.
  const auto first = [](int64_t low) { return std::max<int64_t>(0, (low - kSub / 2) / kSub); };
  const int64_t left = first(x_low), top = first(y_low);
  const int64_t right = std::min(columns, (x_high + kSub / 2) / kSub + 1),
                bottom = std::min(rows, (y_high + kSub / 2) / kSub + 1);
  if (left >= right || top >= bottom) return;
  std::array<int64_t, 3> start, across, below;
  double iz_start = 0, iz_across = 0, iz_below = 0;
  for (size_t k = 0; k < 3; ++k) {
    const size_t a = (k + 1) % 3, b = (k + 2) % 3;
    const int64_t dx = surface.x[b] - surface.x[a], dy = surface.y[b] - surface.y[a];
    start[k] =
        dx * (top * kSub + kSub / 2 - surface.y[a]) - dy * (left * kSub + kSub / 2 - surface.x[a]);
    across[k] = -dy * kSub, below[k] = dx * kSub;
    const double share = surface.iz[k] / surface.area;
    iz_start += static_cast<double>(start[k]) * share;
    iz_across += static_cast<double>(across[k]) * share;
    iz_below += static_cast<double>(below[k]) * share;
    // A point on an edge belongs to one of its two triangles.
    if (!(dy < 0 || (dy == 0 && dx > 0))) start[k] -= 1;
  }
  for (int64_t row = top; row < bottom; ++row) {
    auto edge = start;
    double iz_here = iz_start;
    auto* sample = buffer.data() + row * columns + left;
    for (int64_t column = left; column < right; ++column, ++sample) {
      if ((edge[0] | edge[1] | edge[2]) >= 0)
        touch(*sample, static_cast<float>(iz_here), index, column, row);
      for (size_t k = 0; k < 3; ++k) edge[k] += across[k];
      iz_here += iz_across;
    }
    for (size_t k = 0; k < 3; ++k) start[k] += below[k];
    iz_start += iz_below;
  }
}

/// Paints what is seen and takes the mean over each pixel.
media::Image Renderer::Impl::resolve() {
  std::sort(fragments.begin(), fragments.end(), [](const Fragment& a, const Fragment& b) {
    if (a.sample != b.sample) return a.sample < b.sample;
    return a.iz != b.iz ? a.iz < b.iz : a.surface > b.surface;  // far ones first
  });
  std::vector<Paint> sums(static_cast<size_t>(width * height), Paint{});
  size_t next = 0;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column) {
      const auto at = row * columns + column;
      const auto& sample = buffer[static_cast<size_t>(at)];
      Paint colour{};
      if (sample.surface >= 0) {
        const auto& surface = surfaces[static_cast<size_t>(sample.surface)];
        colour = surface.paint(column, row);
      }
      for (; next < fragments.size() && fragments[next].sample == at; ++next) {
        const auto& over = fragments[next];
        if (over.iz < sample.iz * (1 - kTogether)) continue;
        for (size_t c = 0; c < 4; ++c) colour[c] = over.paint[c] + (1 - over.paint[3]) * colour[c];
      }
      auto& sum = sums[static_cast<size_t>(row / samples * width + column / samples)];
      for (size_t c = 0; c < 4; ++c) sum[c] += colour[c];
    }
  media::Image out(width, height, 4);
  const auto byte = [](float share) {
    return static_cast<uint8_t>(std::clamp(share, 0.0f, 1.0f) * 255 + 0.5f);
  };
  for (size_t i = 0; i < sums.size(); ++i) {
    auto* pixel = out.pixels.data() + 4 * i;
    pixel[3] = byte(sums[i][3] / static_cast<float>(samples * samples));
    for (size_t c = 0; c < 3 && pixel[3] > 0; ++c) pixel[c] = byte(sums[i][c] / sums[i][3]);
  }
  return out;
}

Renderer::Renderer(const Mesh& mesh, int64_t width, int64_t height, int samples)
    : impl_(std::make_unique<Impl>(mesh, width, height, samples)) {}
Renderer::~Renderer() = default;

media::Image Renderer::draw(const Camera& camera) {
  auto& impl = *impl_;
  impl.surfaces.clear();
  impl.fragments.clear();
  std::fill(impl.buffer.begin(), impl.buffer.end(), Sample{});
  impl.place(camera);
  for (const auto& triangle : impl.mesh.triangles) impl.cut(triangle);
  // What lets through comes last: what is hidden is then not painted.
  for (const bool sheer : {false, true})
    for (size_t i = 0; i < impl.surfaces.size(); ++i)
      if (impl.surfaces[i].sheer == sheer) impl.fill(static_cast<int32_t>(i));
  return impl.resolve();
}

}  // namespace lact::views::objects
