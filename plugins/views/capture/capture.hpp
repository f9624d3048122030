#pragma once
// A capture: photographs or a film, and the cameras that somebody has found for them.

#include "lens.hpp"
#include "preparation.hpp"

#include <plugins/views/scene/scene.hpp>

#include <lact/error.hpp>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace lact::views {

/// One image that a camera file lists.
struct Shot {
  std::string file;    ///< as the camera file has it
  std::string place;   ///< where it stands in there: "frame 12"
  int64_t number = 0;  ///< its place among all that are listed
  Lens lens;
  Matrix c2w;
  std::string fault;            ///< why it cannot be used; empty: it can
  Exit code = Exit::data;       ///< of that
  std::filesystem::path image;  ///< where it lies; empty: it is a frame of the film
  int64_t frame = -1;           ///< of the film, from 0
  std::string mask_name;        ///< as the camera file has it; empty: none
  std::filesystem::path mask;   ///< where that, or the one of --masks, lies; empty: none
  /// What the camera file's own split says of it. `unlisted`: there is one, without it.
  enum class Part { none, train, validation, test, unlisted } part = Part::none;
  bool held = false;  ///< held out by that split, which was asked for
};

struct Capture {
  std::string name;              ///< of the scene
  std::filesystem::path file;    ///< that lists the cameras
  std::filesystem::path root;    ///< the scene's folder
  std::filesystem::path folder;  ///< names of images start from here
  Matrix world;                  ///< what has led from the file's poses to those of the shots
  std::vector<Shot> shots;
  std::vector<std::string> notes;  ///< lines about what was there and is not read
};

/// What is wrong with single views: lines are collected, or the first one is thrown.
class Faults {
 public:
  Faults(bool strict, Skipped& skipped) : strict_(strict), skipped_(skipped) {}
  void add(Exit code, const std::string& line) {
    if (strict_) throw Error(code, line);
    skipped_.lines.push_back(line);
  }

 private:
  bool strict_;
  Skipped& skipped_;
};

/// The cameras of a scene: a camera file, a COLMAP model, or a folder that find_cameras knows.
/// Views without an image are left out, images are not opened.
/// Errors   65 and 66 naming the file; a fault of a view is one line to `faults`
Capture list_capture(const std::filesystem::path& where, const Preparation& how, Faults& faults);

/// "FILE: frame 12 (images/0013.jpg): ", the beginning of a line about it.
std::string where_of(const Capture& capture, const Shot& shot);

/// Where a capture is, and what it shall be called; "" leaves that to list_capture.
struct CaptureFound {
  std::filesystem::path where;
  std::string name;
};
/// The captures that a path means: itself; the paths that a scene list (a JSON array of them) or
/// the folders that a folder holds. Those of a list are called by their folders, from the list's.
/// Errors   66 if it does not exist or holds none, 65 if the list is malformed
std::vector<CaptureFound> find_captures(const std::filesystem::path& where);

/// Opens, masks, undistorts, resizes and crops all views of a capture on all threads, and
/// hands them over in order. Few are in memory at any time.
/// Errors   as list_capture; cli::Interrupted
void load(const Capture& capture, const Preparation& how, Faults& faults,
          const std::function<void(const Shot&, const Camera&, media::Image&&)>& take);

/// Reads opencv_cameras.json, transforms.json, a COLMAP model (text or binary), or a folder that
/// holds one of them; images beside it, or frames of a video that transforms.json-like cameras are
/// given for. Distortion is undone.
/// Errors   65 and 66, naming file and place
Scene read_scene(const std::filesystem::path& where, const Preparation& how, Skipped& skipped);

}  // namespace lact::views
